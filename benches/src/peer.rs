//! Another ONNX executor in a process of its own, so that its runs can alternate with ours.
//!
//! Lines of text: it first writes its name and version; `load FILE` is answered with `ok`, `run` with the
//! milliseconds that one run took. `benches/onnxruntime_dense.py` is such a process.

use std::error::Error;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A running peer.
pub struct Peer {
    /// Its name and version.
    pub name: String,
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    /// Starts `command`, words separated by spaces, with `--threads N` behind.
    ///
    /// # Errors
    /// When it cannot be started or ends before it said its name.
    pub fn start(command: &str, threads: usize) -> Result<Self, Box<dyn Error>> {
        let mut words = command.split_whitespace();
        let program = words.next().ok_or("--peer is empty: name a program")?;
        let mut child = Command::new(program)
            .args(words)
            .args(["--threads", &threads.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot start the peer {program}: {error}"))?;
        let requests = child.stdin.take();
        let output = child.stdout.take().ok_or("the peer has no output")?;
        let mut peer = Self {
            name: String::new(),
            child,
            requests,
            answers: BufReader::new(output),
        };
        peer.name = peer.answer("its name")?;
        Ok(peer)
    }

    /// Makes it load an ONNX file and run it once, so that the first timed run is a warm one.
    ///
    /// # Errors
    /// When it refuses.
    pub fn load(&mut self, file: &Path) -> Result<(), Box<dyn Error>> {
        let answer = self.ask(&format!("load {}", file.display()))?;
        if answer != "ok" {
            return Err(format!("{} refused {}: {answer}", self.name, file.display()).into());
        }
        self.run().map(|_| ())
    }

    /// Runs the loaded file once (ms).
    ///
    /// # Errors
    /// When it ended or answers with something else than a number.
    pub fn run(&mut self) -> Result<f64, Box<dyn Error>> {
        let answer = self.ask("run")?;
        answer
            .parse()
            .map_err(|_error| format!("{} answered {answer:?} instead of a time", self.name).into())
    }

    fn ask(&mut self, request: &str) -> Result<String, Box<dyn Error>> {
        let requests = self.requests.as_mut().ok_or("the peer takes no requests")?;
        writeln!(requests, "{request}")?;
        self.answer(request)
    }

    fn answer(&mut self, request: &str) -> Result<String, Box<dyn Error>> {
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err(format!("the peer ended when asked for {request}").into());
        }
        Ok(line.trim().to_owned())
    }
}

impl Drop for Peer {
    /// The end of its input ends the peer.
    fn drop(&mut self) {
        self.requests = None;
        let _ended = self.child.wait();
    }
}
