//! One file for each verb family.

mod demo;
mod district;
mod doctor;
mod key;
mod queues;
mod replay;
mod run;
mod runs;
mod sandbox;
mod serve;
mod students;
mod trace;

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::{
    cli::{Cli, Verb},
    context::Context,
};

/// Exit code of a run that waits for a person.
const HELD: u8 = 3;

/// Does what the command line says.
pub(crate) async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let global = &cli.global;
    match cli.verb {
        Verb::Demo(args) => demo::demo(global, &args).await,
        Verb::Sandbox(args) => sandbox::sandbox(&args).await,
        Verb::Migrate => serve::migrate(global).await,
        Verb::Doctor => doctor::doctor(global).await,
        Verb::Completions { shell } => Ok(completions(shell)),
        Verb::Man => man(),
        Verb::Key(verb) => key::dispatch(global, verb).await,
        Verb::Serve(args) => serve::serve(&Context::open(global).await?, &args).await,
        Verb::Worker(args) => serve::worker(&Context::open(global).await?, &args).await,
        Verb::District(verb) => district::dispatch(&Context::open(global).await?, verb).await,
        Verb::Run(args) => run::run(&Context::open(global).await?, &args).await,
        Verb::Runs(verb) => runs::dispatch(&Context::open(global).await?, verb).await,
        Verb::Queues(verb) => queues::dispatch(&Context::open(global).await?, verb).await,
        Verb::Students(verb) => students::dispatch(&Context::open(global).await?, verb).await,
    }
}

fn completions(shell: clap_complete::Shell) -> ExitCode {
    clap_complete::generate(shell, &mut Cli::command(), "rollcall", &mut std::io::stdout());
    ExitCode::SUCCESS
}

fn man() -> anyhow::Result<ExitCode> {
    clap_mangen::Man::new(Cli::command()).render(&mut std::io::stdout())?;
    Ok(ExitCode::SUCCESS)
}
