//! What goes when there is too much, and what never does.

use std::sync::Arc;
use std::time::Duration;

use harness_sandbox::docker::images::{ImageLimits, ImageRef, Images};

use crate::support::{Bench, ask, exists, tests};

tests! {
    least_recently_used: "the least recently used image goes first, and no more than needed";
    counts_layers_once: "bytes are those of layers that nothing else has";
    spares_what_is_used: "an image in use, in this process, another or a container, stays";
    spares_others: "what others made or named stays, whatever the quota";
    quota_after_a_build: "a build that exceeds the quota makes an older image go";
    another_harness: "another harness's images stay until the user says otherwise";
    dry_run: "a dry run removes nothing";
}

const MB: u64 = 1_000_000;

/// An image with so many megabytes that no other has.
async fn sized(bench: &Bench, images: &Images, name: &str, megabytes: u64) -> ImageRef {
    let text = format!(
        "FROM debian:12\nRUN echo {}-{name}; head -c {megabytes}000000 /dev/urandom > /random\n",
        bench.unique()
    );
    let request = bench.dockerfile(name, &text, &[]);
    let image = images.ensure(&request, &bench.progress()).await.unwrap();
    // Two uses in one millisecond have no order.
    tokio::time::sleep(Duration::from_millis(5)).await;
    image
}

async fn least_recently_used(bench: Arc<Bench>) {
    let images = bench.images().await;
    let mut tags = Vec::new();
    for name in ["a", "b", "c"] {
        tags.push(sized(&bench, &images, name, 4).await.tag);
    }
    // Used again: now `b` is the oldest.
    sized(&bench, &images, "a", 4).await;
    let done = images.evict(9 * MB).await.unwrap();
    assert_eq!(done.images, [tags[1].clone()], "{done:?}");
    assert!((4 * MB..5 * MB).contains(&done.bytes), "{done:?}");
    assert!(exists(&bench.address, &tags[0]) && exists(&bench.address, &tags[2]));
    assert_eq!(images.evict(9 * MB).await.unwrap().images, Vec::<String>::new());
    let done = images.evict(0).await.unwrap();
    assert_eq!(done.images.len(), 2);
}

async fn counts_layers_once(bench: Arc<Bench>) {
    let images = bench.images().await;
    let marker = bench.unique();
    let base = format!("FROM debian:12\nRUN echo {marker}; head -c 6000000 /dev/urandom > /random\n");
    let one = bench.dockerfile("one", &format!("{base}RUN echo one > /one\n"), &[]);
    let two = bench.dockerfile("two", &format!("{base}RUN echo two > /two\n"), &[]);
    let one = images.ensure(&one, &bench.progress()).await.unwrap().tag;
    let two = images.ensure(&two, &bench.progress()).await.unwrap().tag;
    let entries = images.inventory().await.unwrap();
    for name in [&one, &two] {
        let entry = entries.iter().find(|entry| entry.name == *name).unwrap();
        assert!(entry.size > 6 * MB && entry.unique_bytes < MB, "they share what is large: {entry:?}");
    }
    // Together they are one and not two times six megabytes: that is within eight.
    assert_eq!(images.evict(8 * MB).await.unwrap().images, Vec::<String>::new());
    // Taking one away frees little, so the other must go, too.
    assert_eq!(images.evict(5 * MB).await.unwrap().images.len(), 2);
}

async fn spares_what_is_used(bench: Arc<Bench>) {
    let images = bench.images().await;
    let held = sized(&bench, &images, "held", 2).await;
    let other = bench.images().await;
    let elsewhere = sized(&bench, &other, "elsewhere", 2).await;
    let contained = sized(&bench, &images, "contained", 2).await.tag;
    let free = sized(&bench, &images, "free", 2).await.tag;
    let name = format!("harness-test-{}", bench.unique().trim_start_matches('.'));
    let container = create(&bench, &name, &contained);
    let before = images.inventory().await.unwrap();
    let done = images.evict(0).await.unwrap();
    assert_eq!(done.images, [free], "{done:?} of {before:?}");
    assert_eq!(done.kept.len(), 3, "{done:?} of {before:?}");
    let (status, body) = ask(&bench.address, "DELETE", &format!("/v1.41/containers/{container}?force=true"));
    assert!(status < 300, "{body}");
    drop((held, elsewhere));
    assert_eq!(images.evict(0).await.unwrap().images.len(), 3);
}

fn create(bench: &Bench, name: &str, image: &str) -> String {
    use std::io::{Read, Write};
    let harness_sandbox::docker::client::Address::Socket(socket) = &bench.address else { panic!() };
    let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
    let body = format!("{{\"Image\":\"{image}\",\"Cmd\":[\"true\"]}}");
    write!(
        stream,
        "POST /v1.41/containers/create?name={name} HTTP/1.0\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    assert!(text.contains(" 201 "), "{text}");
    name.to_owned()
}

async fn spares_others(bench: Arc<Bench>) {
    let images = bench.images().await;
    let image = sized(&bench, &images, "one", 2).await.tag;
    // Somebody has given our image a name of theirs: ours goes, theirs and the bytes stay.
    let (repository, tag) =
        (format!("localhost/theirs-{}", bench.unique().trim_start_matches('.').to_lowercase()), "1");
    let path = format!("/v1.41/images/{image}/tag?repo={repository}&tag={tag}");
    assert_eq!(ask(&bench.address, "POST", &path).0, 201);
    let before: Vec<bool> =
        ["debian:12", "python:3.12"].iter().map(|name| exists(&bench.address, name)).collect();
    images.evict(0).await.unwrap();
    images.make_room(u64::MAX).await.unwrap();
    let after: Vec<bool> =
        ["debian:12", "python:3.12"].iter().map(|name| exists(&bench.address, name)).collect();
    assert_eq!(before, after);
    assert!(exists(&bench.address, &format!("{repository}:{tag}")));
    assert_eq!(ask(&bench.address, "DELETE", &format!("/v1.41/images/{repository}:{tag}")).0, 200);
}

async fn quota_after_a_build(bench: Arc<Bench>) {
    let limits = ImageLimits { quota_bytes: Some(7 * MB), keep_free_bytes: 0 };
    let images = bench.try_images(limits).await.unwrap();
    let first = sized(&bench, &images, "one", 4).await.tag;
    assert!(exists(&bench.address, &first));
    let second = sized(&bench, &images, "two", 4).await;
    assert!(!exists(&bench.address, &first) && exists(&bench.address, &second.tag));
    // Another quota holds from the next one on.
    images.limit(None);
    let beside = sized(&bench, &images, "beside", 4).await.tag;
    assert!(exists(&bench.address, &second.tag) && exists(&bench.address, &beside));
    images.limit(Some(7 * MB));
    // One that is larger than the quota is made all the same: it is in use.
    let third = sized(&bench, &images, "three", 9).await;
    assert!(exists(&bench.address, &third.tag));
}

async fn another_harness(bench: Arc<Bench>) {
    let images = bench.images().await;
    let tag = sized(&bench, &images, "one", 1).await.tag;
    let stranger = Bench::new(bench.engine, bench.address.clone());
    let others = stranger.images().await;
    assert_eq!(others.evict(0).await.unwrap().images, Vec::<String>::new());
    assert!(exists(&bench.address, &tag));
    let entry = others.inventory().await.unwrap().into_iter().find(|entry| entry.name == tag).unwrap();
    assert_eq!(entry.used_ms, None);
}

async fn dry_run(bench: Arc<Bench>) {
    let images = bench.images().await;
    let tag = sized(&bench, &images, "one", 1).await.tag;
    let would = images.remove_all(true).await.unwrap();
    assert!(would.images.contains(&tag) && would.bytes >= MB, "{would:?}");
    assert!(exists(&bench.address, &tag));
}
