#!/bin/sh
# Reads records one by one and merges by a heap.
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
@@ -3,37 +3,54 @@
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
+        let mut log = record::Log::new(file.to_string_lossy().into_owned(), text);
+        let mut records = Vec::new();
+        while let Some(record) = log.next().unwrap_or_else(|message| fail(message)) {
+            records.push(record);
+        }
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
+    }
+}
+
+fn fail(message: String) -> ! {
+    eprintln!("logmerge: {message}");
+    exit(1);
+}
+
+fn write(records: &[record::Record]) -> io::Result<()> {
+    let mut out = BufWriter::new(io::stdout().lock());
+    for record in records {
+        out.write_all(&record.text)?;
     }
+    out.flush()
 }
 
-fn read(file: &str) -> std::io::Result<String> {
-    let mut text = String::new();
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
@@ -1,8 +1,16 @@
-//! Puts the records of several logs in order.
+//! Puts the records of several logs in order, by a heap of the logs' next records.
 use crate::record::Record;
+use std::cmp::Reverse;
+use std::collections::BinaryHeap;
 
-pub fn merge(logs: Vec<Vec<Record>>) -> Vec<Record> {
-    let mut merged: Vec<Record> = logs.into_iter().flatten().collect();
-    merged.sort_unstable_by(|a, b| a.key.cmp(&b.key));
+pub fn merge<'a>(logs: Vec<Vec<Record<'a>>>) -> Vec<Record<'a>> {
+    let mut logs: Vec<_> = logs.into_iter().map(|log| log.into_iter().peekable()).collect();
+    let mut heap: BinaryHeap<_> =
+        logs.iter_mut().enumerate().filter_map(|(i, log)| log.peek().map(|next| Reverse((next.key, i)))).collect();
+    let mut merged = Vec::new();
+    while let Some(Reverse((_, i))) = heap.pop() {
+        merged.extend(logs[i].next());
+        heap.extend(logs[i].peek().map(|next| Reverse((next.key, i))));
+    }
     merged
 }
--- a/src/record.rs
+++ b/src/record.rs
@@ -1,23 +1,64 @@
-//! Cuts a log into records.
+//! A log, from which records are taken one after the other.
 
-#[derive(Debug, Clone)]
-pub struct Record {
-    pub key: String,
-    pub lines: Vec<String>,
+pub struct Log<'a> {
+    name: String,
+    rest: &'a [u8],
+    line: usize,
+    last: Option<&'a [u8]>,
 }
 
-pub fn records(text: &str) -> Vec<Record> {
-    let mut records: Vec<Record> = Vec::new();
-    for line in text.split('\n') {
-        if line.trim().is_empty() {
-            continue;
+/// The bytes of a record, complete with normal line ends.
+pub struct Record<'a> {
+    pub key: &'a [u8],
+    pub text: Vec<u8>,
+}
+
+impl<'a> Log<'a> {
+    pub fn new(name: String, text: &'a [u8]) -> Log<'a> {
+        let mut log = Log { name, rest: text, line: 0, last: None };
+        while log.continued().is_some() {}
+        log
+    }
+
+    /// Takes a line without its end.
+    fn take(&mut self) -> &'a [u8] {
+        self.line += 1;
+        match self.rest.iter().position(|byte| *byte == b'\n') {
+            None => std::mem::take(&mut self.rest),
+            Some(end) => {
+                let line = &self.rest[..end];
+                self.rest = &self.rest[end + 1..];
+                line.strip_suffix(b"\r").unwrap_or(line)
+            }
         }
-        if line.starts_with(' ') {
-            records.last_mut().unwrap().lines.push(line.to_string());
+    }
+
+    /// Takes the next line if it is empty or continues a record.
+    fn continued(&mut self) -> Option<&'a [u8]> {
+        let blank = self.rest.starts_with(b"\r\n") || matches!(self.rest.first(), Some(b' ' | b'\t' | b'\n'));
+        if blank {
+            Some(self.take())
         } else {
-            let key = line.split(' ').next().unwrap().to_string();
-            records.push(Record { key, lines: vec![line.to_string()] });
+            None
+        }
+    }
+
+    pub fn next(&mut self) -> Result<Option<Record<'a>>, String> {
+        if self.rest.is_empty() {
+            return Ok(None);
+        }
+        let first = self.take();
+        let key = first.split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or(first);
+        if self.last.replace(key).map_or(false, |last| key < last) {
+            return Err(format!("{}:{}: not sorted", self.name, self.line));
+        }
+        let mut text = [first, b"\n"].concat();
+        while let Some(more) = self.continued() {
+            if !more.is_empty() {
+                text.extend_from_slice(more);
+                text.push(b'\n');
+            }
         }
+        Ok(Some(Record { key, text }))
     }
-    records
 }
PATCH
