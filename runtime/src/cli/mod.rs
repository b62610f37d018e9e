//! The `bevfusion` command: detect, bench, inspect, import, export, merge.
//!
//! [`main`] serves the process; [`run`] is the same with arguments and streams of the caller's choice.

mod args;
mod autoware;
mod bench;
mod console;
mod detect;
mod engine;
mod export;
mod frames;
mod import;
mod inspect;
mod merge;
mod model;
mod results;

use std::error::Error;
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use console::Console;

/// What a command answers: any error ends it with its message and exit code 1.
type Answer = Result<(), Box<dyn Error>>;

const SUCCESS: u8 = 0;
const FAILURE: u8 = 1;

/// Runs the command of the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let command_line = joined(std::env::args_os());
    let (mut out, mut err) = (io::stdout(), io::stderr());
    let is_watched = err.is_terminal();
    ExitCode::from(execute(
        cli.command,
        &mut Console {
            out: &mut out,
            err: &mut err,
            is_watched,
            command_line,
        },
    ))
}

/// Runs the command with the given arguments, the first of which is the program's name, and returns its
/// exit code: 0, 1 for a failure (its message is on `err`) or 2 for arguments that are none.
pub fn run(
    arguments: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
    let mut console = Console {
        out,
        err,
        is_watched: false,
        command_line: joined(arguments.iter().cloned()),
    };
    match Cli::try_parse_from(arguments) {
        Ok(cli) => execute(cli.command, &mut console),
        Err(refusal) => {
            let text = refusal.render().to_string();
            let _closed = if refusal.use_stderr() {
                console.remark(&text)
            } else {
                console.say(&text)
            };
            u8::try_from(refusal.exit_code()).unwrap_or(FAILURE)
        }
    }
}

fn execute(command: Command, console: &mut Console<'_>) -> u8 {
    let answer = match command {
        Command::Detect(args) => detect::run(&args, console),
        Command::Bench(args) => bench::run(&args, console),
        Command::Inspect(args) => inspect::run(&args, console),
        Command::Import(args) => import::run(&args, console),
        Command::Export(args) => export::run(&args, console),
        Command::Merge(args) => merge::run(&args, console),
        Command::Models => model::list(console),
        Command::Autoware(args) => autoware::run(&args, console),
    };
    match answer {
        Ok(()) => SUCCESS,
        Err(error) if is_broken_pipe(error.as_ref()) => SUCCESS,
        Err(error) => {
            let _closed = console.remark(&format!("error: {error}"));
            FAILURE
        }
    }
}

/// Arguments as a record of them states them.
fn joined(arguments: impl Iterator<Item = OsString>) -> String {
    let words: Vec<String> = arguments.map(|word| word.display().to_string()).collect();
    words.join(" ")
}

/// The reader of our output went away, as `head` does: nothing to report.
fn is_broken_pipe(error: &(dyn Error + 'static)) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
