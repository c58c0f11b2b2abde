//! What the machine has, and what the trials that run have reserved of it.

use harness_core::Limits;

/// Processors and memory that reservations are made against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Machine {
    /// Thousandths of a processor.
    pub milli_cpus: u64,
    /// Bytes.
    pub memory_bytes: u64,
}

impl Machine {
    /// This machine, as this process may use it.
    pub fn here() -> Machine {
        let cpus = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let info = rustix::system::sysinfo();
        let memory = info.totalram.saturating_mul(u64::from(info.mem_unit).max(1));
        Machine { milli_cpus: cpus * 1000, memory_bytes: memory }
    }
}

/// What is reserved now.
#[derive(Debug, Clone, Copy)]
pub struct Reservations {
    machine: Machine,
    milli_cpus: u64,
    memory_bytes: u64,
    trials: usize,
}

impl Reservations {
    /// Nothing reserved yet.
    pub fn new(machine: Machine) -> Reservations {
        Reservations { machine, milli_cpus: 0, memory_bytes: 0, trials: 0 }
    }

    /// Reserves what the limits ask for, or says no. A trial that is larger than the machine runs alone: refusing it would
    /// mean that it never runs, and its limits hold all the same.
    pub fn take(&mut self, limits: &Limits) -> bool {
        let (cpus, memory) = wants(limits);
        let fits = self.milli_cpus + cpus <= self.machine.milli_cpus
            && self.memory_bytes + memory <= self.machine.memory_bytes;
        if !fits && self.trials > 0 {
            return false;
        }
        self.milli_cpus += cpus;
        self.memory_bytes += memory;
        self.trials += 1;
        true
    }

    /// Gives back what [`Reservations::take`] reserved.
    pub fn give_back(&mut self, limits: &Limits) {
        let (cpus, memory) = wants(limits);
        self.milli_cpus = self.milli_cpus.saturating_sub(cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(memory);
        self.trials = self.trials.saturating_sub(1);
    }
}

fn wants(limits: &Limits) -> (u64, u64) {
    (limits.milli_cpus.unwrap_or(0), limits.memory_bytes.unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_trial_larger_than_the_machine_runs_alone() {
        let mut held = Reservations::new(Machine { milli_cpus: 2000, memory_bytes: 100 });
        let huge = Limits { memory_bytes: Some(1000), ..Limits::default() };
        assert!(held.take(&huge));
        assert!(!held.take(&Limits { memory_bytes: Some(1), ..Limits::default() }));
        held.give_back(&huge);
        assert!(held.take(&Limits { memory_bytes: Some(100), ..Limits::default() }));
    }

    proptest! {
        #[test]
        fn what_fits_is_never_more_than_the_machine(asks in proptest::collection::vec((0u64..3000, 0u64..200), 1..40)) {
            let machine = Machine { milli_cpus: 2000, memory_bytes: 100 };
            let mut held = Reservations::new(machine);
            let mut running = Vec::new();
            for (cpus, memory) in asks {
                let limits = Limits { milli_cpus: Some(cpus), memory_bytes: Some(memory), ..Limits::default() };
                if held.take(&limits) {
                    running.push((cpus, memory));
                }
                let total = running.iter().fold((0, 0), |a, b| (a.0 + b.0, a.1 + b.1));
                prop_assert!(running.len() == 1 || (total.0 <= machine.milli_cpus && total.1 <= machine.memory_bytes));
            }
        }
    }
}
