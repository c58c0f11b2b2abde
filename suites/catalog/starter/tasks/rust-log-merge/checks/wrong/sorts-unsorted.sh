#!/bin/sh
# Sorts files silently that are not sorted.
set -e
patch -s -p1 <<'PATCH'
--- a/src/args.rs
+++ b/src/args.rs
@@ -1,19 +1,28 @@
 //! The command line.
+use std::ffi::OsString;
 
 pub struct Args {
     /// Write only so many records, the last ones.
     pub last: Option<usize>,
-    pub files: Vec<String>,
+    pub files: Vec<OsString>,
 }
 
-pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Args, String> {
+pub fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Args, String> {
     let mut args = Args { last: None, files: Vec::new() };
     while let Some(word) = words.next() {
-        if word == "-n" {
-            args.last = Some(words.next().unwrap().parse().unwrap());
-        } else {
-            args.files.push(word);
+        match word.to_str() {
+            Some("-n") => {
+                let count = words.next().ok_or("-n needs a count")?;
+                let count = count.to_str().and_then(|count| count.parse().ok());
+                args.last = Some(count.ok_or("the count of -n is not a number")?);
+            }
+            Some("--") => args.files.extend(words.by_ref()),
+            Some(option) if option.starts_with('-') && option != "-" => return Err(format!("unknown option {option}")),
+            _ => args.files.push(word),
         }
     }
+    if args.files.is_empty() {
+        return Err("usage: logmerge [-n COUNT] [--] FILE...".to_string());
+    }
     Ok(args)
 }
--- a/src/main.rs
+++ b/src/main.rs
@@ -3,37 +3,51 @@
 mod merge;
 mod record;
 
-use std::io::{Read, Write};
+use std::io::{self, BufWriter, Read, Write};
 use std::process::exit;
 
 fn main() {
-    let args = args::parse(std::env::args().skip(1)).unwrap_or_else(|message| {
+    let args = args::parse(std::env::args_os().skip(1)).unwrap_or_else(|message| {
         eprintln!("logmerge: {message}");
         exit(2);
     });
+    let texts: Vec<Vec<u8>> = args
+        .files
+        .iter()
+        .map(|file| read(file).unwrap_or_else(|error| fail(format!("{}: {error}", file.to_string_lossy()))))
+        .collect();
     let mut logs = Vec::new();
-    for file in &args.files {
-        let text = read(file).unwrap_or_else(|error| {
-            eprintln!("logmerge: {file}: {error}");
-            exit(1);
-        });
-        logs.push(record::records(&text));
+    for (file, text) in args.files.iter().zip(&texts) {
+        let records = record::records(text);
+        logs.push(records);
     }
     let merged = merge::merge(logs);
-    let skip = merged.len() - args.last.unwrap_or(merged.len());
-    for record in &merged[skip..] {
-        for line in &record.lines {
-            writeln!(std::io::stdout(), "{line}").unwrap();
-        }
+    let skip = merged.len().saturating_sub(args.last.unwrap_or(merged.len()));
+    if let Err(error) = write(&merged[skip..]) {
+        fail(error.to_string());
     }
 }
 
-fn read(file: &str) -> std::io::Result<String> {
-    let mut text = String::new();
+fn fail(message: String) -> ! {
+    eprintln!("logmerge: {message}");
+    exit(1);
+}
+
+fn write(records: &[record::Record]) -> io::Result<()> {
+    let mut out = BufWriter::new(io::stdout().lock());
+    for line in records.iter().flat_map(|record| &record.lines) {
+        out.write_all(line)?;
+        out.write_all(b"\n")?;
+    }
+    out.flush()
+}
+
+fn read(file: &std::ffi::OsStr) -> io::Result<Vec<u8>> {
+    let mut text = Vec::new();
     if file == "-" {
-        std::io::stdin().read_to_string(&mut text)?;
+        io::stdin().read_to_end(&mut text)?;
     } else {
-        std::fs::File::open(file)?.read_to_string(&mut text)?;
+        std::fs::File::open(file)?.read_to_end(&mut text)?;
     }
     Ok(text)
 }
--- a/src/merge.rs
+++ b/src/merge.rs
@@ -1,8 +1,9 @@
 //! Puts the records of several logs in order.
 use crate::record::Record;
 
-pub fn merge(logs: Vec<Vec<Record>>) -> Vec<Record> {
+pub fn merge<'a>(logs: Vec<Vec<Record<'a>>>) -> Vec<Record<'a>> {
     let mut merged: Vec<Record> = logs.into_iter().flatten().collect();
-    merged.sort_unstable_by(|a, b| a.key.cmp(&b.key));
+    // A stable sort, which finds the sorted runs by itself.
+    merged.sort_by(|a, b| a.key.cmp(b.key));
     merged
 }
--- a/src/record.rs
+++ b/src/record.rs
@@ -1,22 +1,32 @@
 //! Cuts a log into records.
 
-#[derive(Debug, Clone)]
-pub struct Record {
-    pub key: String,
-    pub lines: Vec<String>,
+#[derive(Debug)]
+pub struct Record<'a> {
+    pub key: &'a [u8],
+    /// Number of the first line in its file, from 1.
+    pub line: usize,
+    /// Without their ends.
+    pub lines: Vec<&'a [u8]>,
 }
 
-pub fn records(text: &str) -> Vec<Record> {
+pub fn records(text: &[u8]) -> Vec<Record<'_>> {
     let mut records: Vec<Record> = Vec::new();
-    for line in text.split('\n') {
-        if line.trim().is_empty() {
-            continue;
-        }
-        if line.starts_with(' ') {
-            records.last_mut().unwrap().lines.push(line.to_string());
-        } else {
-            let key = line.split(' ').next().unwrap().to_string();
-            records.push(Record { key, lines: vec![line.to_string()] });
+    for (number, line) in text.split_inclusive(|byte| *byte == b'\n').enumerate() {
+        let line = match line.strip_suffix(b"\n") {
+            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
+            None => line,
+        };
+        match line.first() {
+            None => {}
+            Some(b' ' | b'\t') => {
+                if let Some(record) = records.last_mut() {
+                    record.lines.push(line);
+                }
+            }
+            Some(_) => {
+                let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
+                records.push(Record { key: &line[..end], line: number + 1, lines: vec![line] });
+            }
         }
     }
     records
PATCH
