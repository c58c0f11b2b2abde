//! `edit_format` patch in a real sandbox: several files at once, all or nothing, and within bounds.

use serde_json::json;

use crate::support::{Canned, Piece, calls, inside, run, sandbox, submit};

fn patch(lines: &str) -> serde_json::Value {
    calls("edit", json!({"patch": format!("*** Begin Patch\n{lines}\n*** End Patch\n")}))
}

#[test]
fn patches_change_several_files_or_none() {
    run(async {
        let Some(sandbox) = sandbox("patches_change_several_files").await else { return };
        inside(&*sandbox, "cd /app; mkdir src; printf 'a\\nb\\nc\\n' > src/one; chmod 751 src/one; echo old > src/two; echo x > src/three; mkdir docs; echo words > docs/text").await;
        let answers = [
            patch("*** Update File: src/one\n a\n-b\n+B\n*** Update File: src/two\n-nothing\n+new"),
            patch("*** Add File: src/four\n+x\n*** Update File: docs/text\n-words\n+other"),
            patch(
                "*** Update File: src/one\n*** Move to: src/deep/moved\n a\n-b\n+B\n*** Delete File: src/two\n*** Add File: src/deep/new\n+one\n+two",
            ),
            patch("*** Add File: src/three\n+y"),
            calls("edit", json!({"path": "src/three", "old_string": "x", "new_string": "y"})),
            submit(),
        ];
        let settings = [("edit_format", json!("patch")), ("excluded_paths", json!("docs"))];
        let outcome =
            Piece { settings: &settings, ..Piece::new(&*sandbox, Canned::new(answers)) }.work().await;
        let ran = outcome.ran();
        assert!(
            ran[0].contains("not in /app/src/two") && ran[0].contains("Nothing was changed"),
            "{}",
            ran[0]
        );
        assert!(ran[1].contains("/app/docs/text is out of bounds"), "{}", ran[1]);
        assert_eq!(
            ran[2],
            "/app/src/one: 1 place changed\n/app/src/one: is now /app/src/deep/moved\n/app/src/two: deleted\n/app/src/deep/new: made, 2 lines"
        );
        assert!(ran[3].contains("exists already"), "{}", ran[3]);
        assert!(ran[4].contains("`patch` is missing"), "{}", ran[4]);
        let left = inside(
            &*sandbox,
            "cd /app; cat src/deep/moved src/deep/new docs/text; stat -c %a src/deep/moved; ls src",
        )
        .await;
        assert_eq!(left, "a\nB\nc\none\ntwo\nwords\n751\ndeep\nthree\n");
        assert_eq!(outcome.report().violations, 1);
    });
}
