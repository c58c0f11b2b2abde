//! Patches that fit, that do not, and that were made up.

use proptest::prelude::*;

use super::parse::MAX_PATCH;
use super::*;

const FILE: &str = "fn one() {\n    go(1);\n    end();\n}\n\nfn two() {\n    go(2);\n    end();\n}\n";

fn updated(text: &str, body: &str) -> Result<String, String> {
    let patch = format!("*** Begin Patch\n*** Update File: f.rs\n{body}\n*** End Patch\n");
    match parse(&patch)?.as_slice() {
        [Change::Update { hunks, .. }] => changed("f.rs", text, hunks),
        other => panic!("{other:?}"),
    }
}

#[test]
fn updated_finds_lines_by_what_they_say() {
    let text = updated(FILE, "@@ fn two() {\n     go(2);\n-    end();\n+    stop();\n }").unwrap();
    assert_eq!(text, FILE.replace("go(2);\n    end", "go(2);\n    stop"));
    let text = updated(FILE, "@@ fn two() {\n-    end();\n@@\n }\n+// last").unwrap();
    assert_eq!(text, FILE.replace("(2);\n    end();\n}\n", "(2);\n}\n// last\n"));
    let text = updated(FILE, "@@ -1,3 +1,4 @@\n fn one() {\n+    first();").unwrap();
    assert_eq!(text, FILE.replace("one() {\n", "one() {\n    first();\n"));
    let text = updated(FILE, "@@\n+fn three() {}\n*** End of File").unwrap();
    assert_eq!(text, format!("{FILE}fn three() {{}}\n"));
    assert_eq!(updated("a\nb", " a\n-b\n+c").unwrap(), "a\nc", "no line end where there was none");
    assert_eq!(updated("a\r\nb\r\n", " a\n-b\n+c\n+d").unwrap(), "a\r\nc\r\nd\r\n");
    assert_eq!(updated("", "+a").unwrap(), "a\n");
    assert_eq!(updated("a\n", "-a").unwrap(), "");
}

#[test]
fn updated_teaches_what_is_wrong() {
    for (body, says) in [
        ("-    end();\n+    stop();", "several times, at lines 3, 8"),
        ("-    end();;;\n     go(1);", "not in f.rs. The nearest is at lines"),
        ("-  go(1);\n-  end();", "The same but for spaces is at lines 2 to 3"),
        ("@@ fn three() {\n-    end();", "no line of f.rs says. The nearest is"),
        (" fn two() {\n+x\n@@\n fn one() {\n+y", "order of the file"),
        ("+x", "does not say where"),
        ("@@", "no line that stays, goes or comes"),
        ("oops", "begins with neither a space"),
        ("", "no line that stays, goes or comes"),
        (" fn two() {\n*** End of File\n-x", "nothing can follow"),
    ] {
        let told = updated(FILE, body).unwrap_err();
        assert!(told.contains(says), "{body:?}: {told}");
    }
    for (patch, says) in [
        ("", "must begin with"),
        ("*** Begin Patch\n*** Update File: a\n-x\n", "may have been cut off"),
        ("*** Begin Patch\n*** Update File: a\n*** End Patch", "no change to a follows"),
        ("*** Begin Patch\n*** End Patch", "changes nothing"),
        ("*** Begin Patch\nhello\n*** End Patch", "line 2 of the patch: expected"),
        ("*** Begin Patch\n*** Add File: a\nx\n*** End Patch", "begins with `+`"),
        ("*** Begin Patch\n*** Delete File: a\n*** Delete File: a\n*** End Patch", "names a twice"),
    ] {
        let told = parse(patch).unwrap_err();
        assert!(told.contains(says), "{patch:?}: {told}");
    }
    let long = format!("*** Begin Patch\n{}", "x".repeat(MAX_PATCH));
    assert!(parse(&long).unwrap_err().contains("more than"));
}

proptest! {
    /// Whatever a patch says, it is read or refused; and one that is cut off anywhere is refused.
    #[test]
    fn parse_never_panics_and_takes_no_half(patch in "([ +@*-]{0,3}[a-z ]{0,6}\n|\\*\\*\\* (Update|Add) File: [ab]\n|@@[ a-z]{0,4}\n){0,12}", cut in 0_usize..40) {
        let whole = format!("*** Begin Patch\n{patch}*** End Patch");
        if let Ok(changes) = parse(&whole) {
            for change in &changes {
                if let Change::Update { hunks, .. } = change {
                    let _ = changed("f", "a\nb\n", hunks);
                }
            }
            let mut end = whole.len().saturating_sub(1 + cut);
            while !whole.is_char_boundary(end) { end -= 1; }
            prop_assert!(parse(&whole[..end]).is_err());
        }
    }

    /// A patch made from two texts turns the one into the other.
    #[test]
    fn changed_turns_one_text_into_another(lines in prop::collection::vec(0_u8..250, 1..30), at in 0_usize..30, new in "[a-z]{1,5}") {
        // Different lines, so that one place is meant.
        let mut seen = std::collections::BTreeSet::new();
        let lines: Vec<String> = lines.into_iter().filter(|line| seen.insert(*line)).map(|line| format!("line {line}")).collect();
        let at = at % lines.len();
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut wanted = lines.clone();
        wanted[at] = new.clone();
        let before = if at > 0 { format!(" {}\n", lines[at - 1]) } else { String::new() };
        let got = updated(&text, &format!("{before}-{}\n+{new}", lines[at])).unwrap();
        prop_assert_eq!(got, wanted.iter().map(|line| format!("{line}\n")).collect::<String>());
    }
}
