//! The guest program: started by the host as `spawner`, a small helper that clones sandboxes and becomes PID 1 in each; or, in
//! a sandbox that another program made, as PID 1 with `listen PATH`.

mod arrive;
mod door;
mod exec;
mod files;
mod init;
mod kept;
mod kill;
mod launch;
mod setup;
mod spawner;
mod trouble;
mod users;
mod view;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    // Under this name it is what an image of nothing else runs to prove that containers work.
    if arguments.next().is_some_and(|own| std::path::Path::new(&own).ends_with("true")) {
        return ExitCode::SUCCESS;
    }
    let mode = arguments.next();
    match mode.as_deref().and_then(std::ffi::OsStr::to_str) {
        Some("spawner") => match spawner::run() {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
        Some("listen") => match arguments.next().map(|path| door::run(path.as_ref())) {
            Some(Err(_)) => ExitCode::FAILURE,
            Some(Ok(())) => ExitCode::SUCCESS,
            None => ExitCode::from(2),
        },
        _ => ExitCode::from(2),
    }
}
