//! What is built, and how often.

use std::sync::Arc;
use std::time::{Duration, Instant};

use harness_sandbox::EnvironmentPlan;
use harness_sandbox::docker::images::BuildOptions;

use crate::support::{Bench, ask, exists, tasks_fault, tests};

tests! {
    builds_and_reads_the_config: "a build gives the image's environment, folder, user and labels";
    builds_once: "an image that is there is not built again, and a build call is not made";
    eight_callers: "eight callers at once make one build";
    context_rules: "the context is what .dockerignore leaves, as the engine's own client would send it";
    dockerfile_elsewhere: "a Dockerfile outside its context builds, and is not copied into the image";
    arguments_and_target: "build arguments and a target decide what is built";
    image_with_files: "files beside a published image are put into its working folder";
    plans: "a plan says what would be built or pulled, and makes nothing";
    base_removed: "an image whose base was removed is used as it is";
    content_decides: "what changes in the context gives another image, and its age does not";
    frontend_that_cannot_be_had: "a frontend that cannot be had is replaced by the engine's own";
    removed_between: "an image that was removed is built again";
}

async fn builds_and_reads_the_config(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = "FROM debian:12\nENV COLOUR=blue EMPTY=\nWORKDIR /srv/app\nUSER nobody\nENTRYPOINT [\"/bin/echo\"]\nCMD [\"x\"]\n";
    let request = bench.dockerfile("one", text, &[]);
    let image = images.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!(image.env["COLOUR"], "blue");
    assert_eq!(image.env["EMPTY"], "");
    assert!(image.env.contains_key("PATH"));
    assert_eq!((image.workdir.as_str(), image.user.as_deref()), ("/srv/app", Some("nobody")));
    assert_eq!(
        (&image.entrypoint[..], &image.command[..]),
        (&["/bin/echo".to_owned()][..], &["x".to_owned()][..])
    );
    assert_eq!(image.name, "debian:12");
    let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    assert_eq!(image.architecture, arch);
    assert!(image.size > 1_000_000);
    let (status, body) = ask(&bench.address, "GET", &format!("/v1.41/images/{}/json", image.id));
    assert!(status == 200 && body.contains("\"harness.image\""), "{status} {body}");
}

async fn builds_once(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = format!("FROM debian:12\nRUN echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[]);
    let first = images.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!(bench.builds(), 1);
    assert!(bench.log().contains(&bench.unique()), "the log has what was built");
    let began = Instant::now();
    let again = images.ensure(&request, &bench.progress()).await.unwrap();
    let took = began.elapsed();
    assert_eq!((bench.builds(), &again.id), (1, &first.id));
    assert!(took < Duration::from_secs(2), "{took:?}");
    // Another process's memory is its own, the engine's images are not.
    let other = bench.images().await;
    assert_eq!(other.ensure(&request, &bench.progress()).await.unwrap().id, first.id);
    assert_eq!(bench.builds(), 1);
}

async fn eight_callers(bench: Arc<Bench>) {
    let images = Arc::new(bench.images().await);
    let text = format!("FROM debian:12\nRUN sleep 1; echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[]);
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (images, request, progress) = (Arc::clone(&images), request.clone(), bench.progress());
            tokio::spawn(async move { images.ensure(&request, &progress).await.unwrap().id })
        })
        .collect();
    let mut ids = Vec::new();
    for caller in callers {
        ids.push(caller.await.unwrap());
    }
    ids.dedup();
    assert_eq!((ids.len(), bench.builds()), (1, 1));
    // A failure is everybody's, too, and is not built eight times.
    let request = bench.dockerfile(
        "two",
        &format!("FROM debian:12\nRUN sleep 1; echo {}; exit 3\n", bench.unique()),
        &[],
    );
    let callers: Vec<_> = (0..8)
        .map(|_| {
            let (images, request, progress) = (Arc::clone(&images), request.clone(), bench.progress());
            tokio::spawn(async move { images.ensure(&request, &progress).await })
        })
        .collect();
    for caller in callers {
        tasks_fault(caller.await.unwrap());
    }
    assert_eq!(bench.builds(), 2);
}

/// The files of `/it` in an image, by exporting nothing: a RUN of the Dockerfile lists them into the log.
async fn listed(bench: &Bench, name: &str, files: &[(&str, &str)]) -> Vec<String> {
    let marker = format!("{}-{name}", bench.unique());
    let text =
        format!("FROM debian:12\nCOPY . /it\nRUN cd /it && find . -mindepth 1 | sort | sed s/^/{marker}:/\n");
    let request = bench.dockerfile(name, &text, files);
    bench.images().await.ensure(&request, &bench.progress()).await.unwrap();
    let wanted = format!("{marker}:./");
    let log = bench.log();
    log.lines().filter_map(|line| line.split_once(&wanted)).map(|(_, name)| name.to_owned()).collect()
}

async fn context_rules(bench: Arc<Bench>) {
    let files = [
        (".dockerignore", "**/*.o\n!src/deep/keep.o\nsecret\n*.md\n!README.md\n"),
        ("README.md", "x"),
        ("other.md", "x"),
        ("secret/key", "x"),
        ("src/x.o", "x"),
        ("src/deep/keep.o", "x"),
        ("src/main.c", "x"),
    ];
    let expected =
        [".dockerignore", "Dockerfile", "README.md", "src", "src/deep", "src/deep/keep.o", "src/main.c"];
    assert_eq!(listed(&bench, "one", &files).await, expected);
}

async fn dockerfile_elsewhere(bench: Arc<Bench>) {
    // Left out by the list, and the list too.
    let files = [(".dockerignore", "Dockerfile\n.dockerignore\n"), ("a", "x")];
    let found = listed(&bench, "one", &files).await;
    assert!(found.contains(&"a".to_owned()), "{found:?}");
    let strangers: Vec<_> = found.iter().filter(|name| *name != "a").collect();
    assert!(strangers.is_empty(), "{strangers:?}");
}

async fn arguments_and_target(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = "FROM debian:12 AS first\nARG COLOUR=red\nENV COLOUR=$COLOUR STAGE=first\nFROM first AS second\nENV STAGE=second\n";
    let request = bench.dockerfile("one", text, &[]);
    let plain = images.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!((plain.env["COLOUR"].as_str(), plain.env["STAGE"].as_str()), ("red", "second"));
    let options = BuildOptions {
        args: [("COLOUR".to_owned(), "a b \"c\"".to_owned())].into(),
        target: Some("first".to_owned()),
    };
    let other = images.ensure_with(&request, &options, &bench.progress()).await.unwrap();
    assert_eq!((other.env["COLOUR"].as_str(), other.env["STAGE"].as_str()), ("a b \"c\"", "first"));
    assert_ne!(plain.tag, other.tag);
}

async fn image_with_files(bench: Arc<Bench>) {
    let images = bench.images().await;
    let files = bench.place.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let plain = images.ensure(&bench.image("debian:12", Some(&files)), &bench.progress()).await.unwrap();
    assert_eq!((plain.tag.as_str(), bench.builds()), ("debian:12", 0), "no files, no build");
    std::fs::write(files.join("data.txt"), bench.unique()).unwrap();
    let mut request = bench.image("debian:12", Some(&files));
    request.spec.workdir = Some("/my work/$x".to_owned());
    let image = images.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!(image.workdir, "/my work/$x");
    assert_eq!((bench.builds(), image.name.as_str()), (1, "debian:12"));
}

async fn plans(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = format!("FROM debian:12\nRUN echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[("x", "12345")]);
    let planned = images.plan(&request).await.unwrap();
    let EnvironmentPlan::Build { context_bytes, pulls } = planned else { panic!("{planned:?}") };
    assert!(context_bytes > 5 && pulls.is_empty());
    assert_eq!(bench.builds(), 0);
    images.ensure(&request, &bench.progress()).await.unwrap();
    assert!(matches!(images.plan(&request).await.unwrap(), EnvironmentPlan::Present { bytes: Some(1..) }));
    let missing = images.plan(&bench.image("localhost:1/not/there:1", None)).await.unwrap();
    assert!(matches!(missing, EnvironmentPlan::Pull { name, .. } if name == "localhost:1/not/there:1"));
    let request = bench.dockerfile("two", "FROM localhost:1/not/there:1\n", &[]);
    let planned = images.plan(&request).await.unwrap();
    assert!(matches!(planned, EnvironmentPlan::Build { pulls, .. } if pulls == ["localhost:1/not/there:1"]));
}

async fn base_removed(bench: Arc<Bench>) {
    let images = bench.images().await;
    let base = format!("localhost/base-{}:1", bench.unique().to_lowercase().replace('.', ""));
    let (repository, tag) = base.rsplit_once(':').unwrap();
    let (status, body) =
        ask(&bench.address, "POST", &format!("/v1.41/images/debian:12/tag?repo={repository}&tag={tag}"));
    assert_eq!(status, 201, "{body}");
    let request = bench.dockerfile("one", &format!("FROM {base}\nRUN echo {}\n", bench.unique()), &[]);
    let first = images.ensure(&request, &bench.progress()).await.unwrap();
    let (status, body) = ask(&bench.address, "DELETE", &format!("/v1.41/images/{base}"));
    assert_eq!(status, 200, "{body}");
    let again = images.ensure(&request, &bench.progress()).await.unwrap();
    assert_eq!((again.id, bench.builds()), (first.id, 1));
}

async fn content_decides(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = format!("FROM debian:12\nCOPY x /x\nRUN echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[("x", "1")]);
    let first = images.ensure(&request, &bench.progress()).await.unwrap();
    let file = std::fs::File::options().write(true).open(bench.place.path().join("one/x")).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
    assert_eq!(images.ensure(&request, &bench.progress()).await.unwrap().id, first.id);
    assert_eq!(bench.builds(), 1);
    std::fs::write(bench.place.path().join("one/x"), "2").unwrap();
    assert_ne!(images.ensure(&request, &bench.progress()).await.unwrap().id, first.id);
    assert_eq!(bench.builds(), 2);
}

async fn frontend_that_cannot_be_had(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = format!("# syntax=localhost:1/not/there:1\nFROM debian:12\nRUN echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[]);
    images.ensure(&request, &bench.progress()).await.unwrap();
}

async fn removed_between(bench: Arc<Bench>) {
    let images = bench.images().await;
    let text = format!("FROM debian:12\nRUN echo {}\n", bench.unique());
    let request = bench.dockerfile("one", &text, &[]);
    let first = images.ensure(&request, &bench.progress()).await.unwrap();
    // Not by us: whoever does it does not ask who uses it.
    let (status, body) = ask(&bench.address, "DELETE", &format!("/v1.41/images/{}?force=true", first.tag));
    assert_eq!(status, 200, "{body}");
    assert!(!exists(&bench.address, &first.tag));
    let again = images.ensure(&request, &bench.progress()).await.unwrap();
    assert!(exists(&bench.address, &again.tag));
    assert_eq!(bench.builds(), 2);
}
