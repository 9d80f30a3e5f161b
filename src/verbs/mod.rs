//! One file for each verb family.

mod demo;
mod district;
mod doctor;
mod documents;
mod flags;
mod integrations;
mod key;
mod lti;
mod patience;
mod probe;
mod queues;
mod reconcile;
mod replay;
mod run;
mod runs;
mod sandbox;
mod serve;
mod students;
mod trace;
mod views;
mod web;

use std::process::ExitCode;

use clap::CommandFactory as _;

use crate::{
    cli::{Cli, DistrictVerb, Verb},
    context::Context,
    output,
};

/// Exit code of a run that waits for a person.
const HELD: u8 = 3;

/// Does what the command line says.
pub(crate) async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let (global, role) = (&cli.global, crate::telemetry::role(&cli.verb));
    match cli.verb {
        Verb::Demo(args) => demo::demo(global, &args).await,
        Verb::Sandbox(args) => sandbox::sandbox(&args).await,
        Verb::Migrate => serve::migrate(global).await,
        Verb::Probe(args) => probe::probe(&args),
        Verb::Doctor => doctor::doctor(global).await,
        Verb::Reconcile { check } => reconcile::reconcile(global, check).await,
        Verb::Completions { shell } => completions(shell),
        Verb::Man => man(),
        Verb::Key(verb) => key::dispatch(global, verb).await,
        Verb::Serve(args) => serve::serve(global, &args).await,
        Verb::Worker(args) => serve::worker(global, &args, role).await,
        Verb::Web(args) => web::web(global, &args).await,
        Verb::Lti(verb) => lti::dispatch(&Context::open_store(global).await?, verb).await,
        Verb::Integrations(verb) => integrations::dispatch(&Context::open_store(global).await?, verb).await,
        Verb::District(verb @ DistrictVerb::Apply { .. }) => {
            district::dispatch(&Context::open_or_make(global).await?, verb).await
        }
        Verb::District(verb) => district::dispatch(&Context::open(global).await?, verb).await,
        Verb::Run(args) => run::run(&Context::open(global).await?, &args).await,
        Verb::Runs(verb) if verb.only_reads() => runs::dispatch(&Context::open_store(global).await?, verb).await,
        Verb::Runs(verb) => runs::dispatch(&Context::open(global).await?, verb).await,
        Verb::Queues(verb) => queues::dispatch(&Context::open(global).await?, verb).await,
        Verb::Documents(verb) => documents::dispatch(&Context::open(global).await?, verb).await,
        Verb::Flags(verb) => flags::dispatch(&Context::open(global).await?, verb).await,
        Verb::Students(verb) => students::dispatch(&Context::open_store(global).await?, verb).await,
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "rollcall", &mut script);
    output::print(&script)?;
    Ok(ExitCode::SUCCESS)
}

/// One document: a page for the program, and one after it for each verb.
fn man() -> anyhow::Result<ExitCode> {
    let mut program = Cli::command();
    program.build();
    let mut document = Vec::new();
    pages(program, &mut document)?;
    output::print(&document)?;
    Ok(ExitCode::SUCCESS)
}

fn pages(command: clap::Command, document: &mut Vec<u8>) -> anyhow::Result<()> {
    let verbs: Vec<_> = command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned().collect();
    clap_mangen::Man::new(command).render(document)?;
    verbs.into_iter().try_for_each(|verb| pages(verb, document))
}
