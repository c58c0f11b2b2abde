//! The command line as it is typed. What it means is decided in `commands/`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Runs coding agents over task suites in sandboxes, judges them by the tasks' own tests, and compares them.
///
/// The first thing to try is `harness run suite`: it needs no container engine, no key and no network.
/// stdout is data, stderr is talk; `--format json` gives scripts what people get as tables.
/// Exit codes: 0 completed, whatever the agents scored; 1 unexpected; 2 usage; 3 invalid suite, dataset or setting;
/// 4 nothing selected; 5 harness faults left trials without a result; 8 a check found defects; 9 a budget ended the run; 130 interrupted.
#[derive(Debug, Parser)]
#[command(name = "harness", version, max_term_width = 100, disable_help_subcommand = true)]
pub struct Cli {
    /// Options that every command understands.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options that every command understands.
#[derive(Debug, Args)]
pub struct Global {
    /// Folder that holds the runs. Default: .harness/runs, or `runs_dir` of the settings
    #[arg(long, global = true, value_name = "DIR", help_heading = "Everywhere")]
    pub runs_dir: Option<PathBuf>,
    /// How results are written to stdout. Default: a table
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Everywhere")]
    pub format: Option<String>,
}

/// What to do.
#[derive(Debug, Subcommand)]
#[expect(clippy::large_enum_variant, reason = "there is one of it, and it is taken apart at once")]
pub enum Command {
    /// Run agents over a suite or over single tasks
    #[command(subcommand)]
    Run(Run),
    /// Go on with a run that was interrupted
    ///
    /// Finished trials are not run again. Refuses, naming it, when a task or a setting changed since the run began.
    Resume(Resume),
    /// Prove an instrument before it is used
    #[command(subcommand)]
    Check(Check),
    /// Show what one or more runs came to
    Report(Report),
    /// Compare variants side by side, task by task
    ///
    /// Each name is a run, or RUN:VARIANT for one variant of it. A single run compares its own variants with the first.
    Compare(Compare),
    /// Meter, price and limit model traffic of any program, without a run
    ///
    /// Serves the providers' own paths (Responses, Chat Completions, Messages, generateContent) and writes one JSON line a
    /// request to stdout. Point a program at it by its base URL; the real keys stay here.
    Gateway(Gateway),
    /// List what there is
    #[command(subcommand)]
    List(List),
    /// Show one thing in full
    #[command(subcommand)]
    Show(Show),
    /// Begin something new
    #[command(subcommand)]
    New(New),
    /// Say what works on this machine, what does not, and how to mend it
    ///
    /// Really runs /bin/true in each sandbox. Ends with 1 when no sandbox works.
    Doctor(Doctor),
    /// Remove what crashes left: sandboxes, mounts, control groups, scratch files
    ///
    /// Spares everything that belongs to a run that is alive.
    Clean(Clean),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Print the reference of all commands in Markdown
    #[command(hide = true)]
    Reference,
}

/// `harness run …`
#[derive(Debug, Subcommand)]
pub enum Run {
    /// Run agents over a suite
    ///
    /// SUITE is a name of the catalog (`harness list suites`), a suite file, a folder of tasks, or FORMAT:PATH.
    /// Without --agent, the built-in agent (core) runs with each --model; without that too, on a bundled suite with the script
    /// that plays it, and on other tasks the task's own solution (oracle) and an agent that does nothing (noop) run side by side.
    /// Both show that the instrument works and say nothing about any model.
    Suite {
        /// What to run
        #[arg(default_value = "starter")]
        suite: String,
        /// The rest.
        #[command(flatten)]
        options: RunOptions,
    },
    /// Run agents over single task folders
    Task {
        /// Task folders
        #[arg(required = true, value_name = "PATH")]
        tasks: Vec<String>,
        /// The rest.
        #[command(flatten)]
        options: RunOptions,
    },
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunOptions {
    /// Agent to run (can be repeated). See `harness list agents`
    #[arg(long, value_name = "NAME", help_heading = "Variants")]
    pub agent: Vec<String>,
    /// Model for the agents that use one, PROVIDER/MODEL (can be repeated). See `harness list models`
    #[arg(long, value_name = "NAME", help_heading = "Variants")]
    pub model: Vec<String>,
    /// Setting of the agent named before it, or of the built-in one where none is named (can be repeated; one that is given more
    /// than once makes a variant of each value).
    /// `--agent-set @FILE` reads a TOML file of settings
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Variants")]
    pub agent_set: Vec<String>,
    /// TOML file that spans the variants: agents, models, a matrix of settings, include, exclude, names. See --dry-run for what
    /// comes of it
    #[arg(long, value_name = "FILE", conflicts_with_all = ["agent", "agent_set"], help_heading = "Variants")]
    pub experiment: Option<PathBuf>,
    /// Independent attempts of each task by each variant. Default: 1, or the suite's
    #[arg(long, value_name = "K", help_heading = "Variants")]
    pub attempts: Option<u32>,

    /// Only tasks for which this holds, for example: language == "rust" && difficulty != "hard"
    #[arg(long, value_name = "EXPR", help_heading = "Selection")]
    pub filter: Option<String>,
    /// At most so many tasks
    #[arg(long, value_name = "N", help_heading = "Selection")]
    pub limit: Option<usize>,
    /// Seed of every random choice. Default: 0
    #[arg(long, value_name = "S", help_heading = "Selection")]
    pub seed: Option<u64>,
    /// Count malformed tasks as invalid and run the others, instead of refusing to start
    #[arg(long, help_heading = "Selection")]
    pub keep_going: bool,
    /// Name of a host variable that tasks may read by ${NAME} (can be repeated)
    #[arg(long, value_name = "NAME", help_heading = "Selection")]
    pub env_pass: Vec<String>,

    /// Most trials at once. Default: the processors of this machine
    #[arg(long, short, value_name = "N", help_heading = "Running")]
    pub jobs: Option<usize>,
    /// How often a trial that the harness itself broke is tried again. Default: 2
    #[arg(long, value_name = "N", help_heading = "Running")]
    pub retries: Option<u32>,
    /// Multiplies every time limit of agents and tests. Default: 1
    #[arg(long, value_name = "X", help_heading = "Running")]
    pub timeout_multiplier: Option<f64>,
    /// The agent's time in tasks of a tier, in place of what they say (can be repeated). Tiers are simple, medium, complex and
    /// major, by the task's difficulty: easy is simple, hard is complex
    #[arg(long, value_name = "TIER=SECONDS", help_heading = "Running")]
    pub tier_timeout: Vec<String>,
    /// End an agent that had neither output nor model traffic for so many seconds; it counts as timed out. Default: it is only
    /// shown
    #[arg(long, value_name = "SECONDS", help_heading = "Running")]
    pub stall_timeout: Option<f64>,
    /// Start nothing new after the first trial that is not resolved
    #[arg(long, help_heading = "Running")]
    pub fail_fast: bool,
    /// Name of the run. Default: the date, the time and the suite
    #[arg(long, value_name = "ID", help_heading = "Running")]
    pub run_id: Option<String>,
    /// Say what would be run, and what would be built or pulled for it; do nothing
    #[arg(long, help_heading = "Running")]
    pub dry_run: bool,

    /// Most that the run may spend on models, in dollars; what was not tried is listed, and the run ends with 9
    #[arg(long, value_name = "X", help_heading = "Models")]
    pub budget_usd: Option<f64>,
    /// Most tokens that the run may use, in and out
    #[arg(long, value_name = "N", help_heading = "Models")]
    pub budget_tokens: Option<u64>,
    /// Most that each trial may spend, in dollars; it is judged on what it had
    #[arg(long, value_name = "X", help_heading = "Models")]
    pub max_cost: Option<f64>,
    /// Most tokens that each trial may use, in and out
    #[arg(long, value_name = "N", help_heading = "Models")]
    pub max_tokens_per_task: Option<u64>,
    /// Price file of your own, over the bundled prices
    #[arg(long, value_name = "FILE", help_heading = "Models")]
    pub prices: Option<PathBuf>,
    /// Keep what models are asked and answer with the run, for --replay
    #[arg(long, help_heading = "Models")]
    pub record: bool,
    /// Play the recording of another run: no key, no network, no cost. MODE says what becomes of a request that was not recorded:
    /// `strict` refuses it unless only what commands printed differs, `exact` refuses it, `lenient` gives the next answer,
    /// `passthrough` asks the model
    #[arg(long, value_name = "RUN[:MODE]", help_heading = "Models")]
    pub replay: Option<String>,

    /// Sandbox to use; never falls back to another. Default: chosen, and said. See `harness list sandboxes`
    #[arg(long, value_name = "NAME", help_heading = "Sandbox")]
    pub sandbox: Option<String>,
    /// Root file system for every task: `host` (this machine's own, what is safe to show of it), a folder, or a tar archive
    #[arg(long, value_name = "host|DIR|TAR", help_heading = "Sandbox")]
    pub rootfs: Option<String>,
    /// Network for every task, whatever it asks for; recorded with each trial
    #[arg(long, value_name = "MODE", help_heading = "Sandbox")]
    pub network: Option<Network>,
}

/// `--network`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Network {
    /// Loopback only
    None,
    /// Loopback, with one listener for model traffic
    Gateway,
    /// Public addresses, never this host's nor private ones
    Open,
}

/// `harness resume`
#[derive(Debug, Args)]
pub struct Resume {
    /// The run to go on with
    pub run: String,
    /// Most trials at once. Default: as the run began
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<usize>,
    /// Most that the run may spend in all, in dollars, what it has spent included. Default: as the run began
    #[arg(long, value_name = "X")]
    pub budget_usd: Option<f64>,
    /// Most tokens of the run in all, those that it has used included. Default: as the run began
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,
}

/// `harness check …`
#[derive(Debug, Subcommand)]
pub enum Check {
    /// Prove that a suite is sound: its solutions resolve, doing nothing does not, repeats agree
    ///
    /// Also that every declared wrong solution passes what the agent can see and is not resolved, and that every
    /// declared other right solution is. Ends with 8 on any defect, and on skipped tasks unless --allow-skips.
    Suite(CheckSuite),
}

/// `harness check suite`
#[derive(Debug, Args)]
pub struct CheckSuite {
    /// What to check: as for `run suite`
    #[arg(default_value = "starter")]
    pub suite: String,
    /// How often each solution runs; all runs must agree
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub repeat: u32,
    /// Skipped tasks are no defects
    #[arg(long)]
    pub allow_skips: bool,
    /// Only tasks for which this holds
    #[arg(long, value_name = "EXPR")]
    pub filter: Option<String>,
    /// At most so many tasks
    #[arg(long, value_name = "N")]
    pub limit: Option<usize>,
    /// Most trials at once. Default: the processors of this machine
    #[arg(long, short, value_name = "N")]
    pub jobs: Option<usize>,
    /// Sandbox to use. Default: chosen, and said
    #[arg(long, value_name = "NAME")]
    pub sandbox: Option<String>,
    /// Root file system for every task
    #[arg(long, value_name = "host|DIR|TAR")]
    pub rootfs: Option<String>,
}

/// `harness report`
#[derive(Debug, Args)]
pub struct Report {
    /// Runs, by name or folder. Default: the newest
    #[arg(value_name = "RUN")]
    pub runs: Vec<String>,
    /// Price the requests of the runs anew: by the bundled prices under this file
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `harness compare`
#[derive(Debug, Args)]
pub struct Compare {
    /// What to compare with: RUN or RUN:VARIANT
    pub base: String,
    /// What is compared: RUN or RUN:VARIANT
    #[arg(value_name = "CANDIDATE")]
    pub candidates: Vec<String>,
    /// Write to this file instead of stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `harness gateway`
#[derive(Debug, Args)]
pub struct Gateway {
    /// Where to listen
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub listen: String,
    /// Provider that answers on its wire (can be repeated). Default: every one whose key is there
    #[arg(long, value_name = "NAME")]
    pub provider: Vec<String>,
    /// Play this script on every wire instead
    #[arg(long, value_name = "FILE", conflicts_with = "provider")]
    pub script: Option<PathBuf>,
    /// Variable whose value callers must show as their key. Default: none, on loopback only
    #[arg(long, value_name = "NAME")]
    pub key_env: Option<String>,
    /// Most that may be spent, in dollars
    #[arg(long, value_name = "X")]
    pub budget_usd: Option<f64>,
    /// Most tokens, in and out
    #[arg(long, value_name = "N")]
    pub budget_tokens: Option<u64>,
    /// Price file of your own, over the bundled prices
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
}

/// `harness list …`
#[derive(Debug, Subcommand)]
pub enum List {
    /// Suites of the catalog
    Suites,
    /// Tasks of a suite, folder or FORMAT:PATH
    Tasks {
        /// As for `run suite`
        #[arg(default_value = "starter")]
        suite: String,
        /// Only tasks for which this holds
        #[arg(long, value_name = "EXPR")]
        filter: Option<String>,
    },
    /// Agents, with their settings
    Agents,
    /// Sandboxes that tasks can run in
    Sandboxes,
    /// Dataset and report formats
    Formats,
    /// Metrics of a report
    Metrics,
    /// Models with their wires and prices, and where those come from
    Models {
        /// Only of this provider
        #[arg(long, value_name = "NAME")]
        provider: Option<String>,
        /// Price file of your own, over the bundled prices
        #[arg(long, value_name = "FILE")]
        prices: Option<PathBuf>,
    },
    /// Runs in the runs folder, newest first
    Runs,
}

/// `harness show …`
#[derive(Debug, Subcommand)]
pub enum Show {
    /// A run: what it depends on
    Run {
        /// The run
        run: String,
    },
    /// One trial's story: phases, times, tries, verdict and why, the ends of its logs
    Trial {
        /// The run
        run: String,
        /// TASK, TASK/VARIANT or TASK/VARIANT/ATTEMPT; must name exactly one trial
        trial: String,
        /// What the agent and its model said and did, step by step. `--format json` gives the events, `--format atif` the Agent
        /// Trajectory Interchange Format. For an agent that keeps none, it is made from what the run recorded (`--record`)
        #[arg(long)]
        trajectory: bool,
    },
    /// A task as the harness reads it
    Task {
        /// A task folder, or SUITE/TASK
        task: String,
    },
    /// Every setting and where it came from
    Settings,
}

/// `harness new …`
#[derive(Debug, Subcommand)]
pub enum New {
    /// Write a task's skeleton to fill in
    Task {
        /// The folder to make
        dir: PathBuf,
        /// Repository whose state at --commit the agent works on, without its later history
        #[arg(long, value_name = "PATH", requires = "commit")]
        repo: Option<PathBuf>,
        /// The commit to begin from
        #[arg(long, value_name = "SHA", requires = "repo")]
        commit: Option<String>,
    },
}

/// `harness doctor`
#[derive(Debug, Args)]
pub struct Doctor {
    /// Only this sandbox
    #[arg(long, value_name = "NAME")]
    pub sandbox: Option<String>,
}

/// `harness clean`
#[derive(Debug, Args)]
pub struct Clean {
    /// Remove the images, too, that harness built or pulled on a container engine and that nobody uses
    #[arg(long)]
    pub images: bool,
    /// Remove the agents, too, that harness installed (codex, Claude Code, …) and that no run uses
    #[arg(long)]
    pub agents: bool,
    /// Only say what would be removed
    #[arg(long)]
    pub dry_run: bool,
}
