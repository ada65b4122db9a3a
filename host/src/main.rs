//! The `wasgi` command.

use std::process::ExitCode;

use wasgi::cli::{Cli, Command};
use wasgi::{commands, heap, printable};

fn main() -> ExitCode {
    heap::limit_arenas();
    let result = match Cli::of_process().command {
        Command::New(new) => commands::new(&new),
        Command::Serve(serve) => commands::serve(&serve),
        Command::Dev(dev) => commands::dev(&dev),
        Command::Routes(routes) => commands::routes(&routes),
        Command::Check(check) => commands::check(&check),
        Command::Run(run) => commands::run(&run),
        Command::Test(test) => commands::test(&test),
        Command::Build(build) => commands::build(&build),
        Command::Bundle(bundle) => commands::bundle(&bundle),
        Command::Pull(pull) => commands::pull(&pull),
        Command::Deps(deps) => commands::deps(&deps),
        Command::State(state) => commands::state(&state),
        Command::Wit(wit) => commands::wit(&wit),
        Command::Config(serve) => commands::config(&serve),
        Command::Upgrade(upgrade) => commands::upgrade(&upgrade),
        Command::Doctor(doctor) => commands::doctor(&doctor),
        Command::Top(top) => commands::top(&top),
        Command::Completions(completions) => commands::completions(&completions),
        Command::Man => commands::man(),
        Command::CompileForServer(limits) => commands::compile_for_server(&limits),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("wasgi: {}", printable::block(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}
