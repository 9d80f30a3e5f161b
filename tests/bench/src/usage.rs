//! CPU time and memory of processes, from `/proc`.

use std::{
    collections::BTreeMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

/// Clock ticks a second in `/proc/PID/stat`: fixed by Linux for all that user space sees.
const TICKS: f64 = 100.0;

/// What a process, or a group of them, has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    /// Seconds of CPU.
    pub(crate) cpu: f64,
    /// Most memory at once, bytes.
    pub(crate) peak: u64,
}

/// Fields of `/proc/PID/stat` behind the command, which may hold blanks; the first is the state.
fn stat(pid: u32) -> Option<Vec<u64>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect())
}

/// Seconds of CPU that a process has used itself.
fn cpu(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |fields| (fields[11] + fields[12]) as f64 / TICKS)
}

/// Seconds of CPU of the children that it has seen end.
fn cpu_of_the_dead(pid: u32) -> f64 {
    stat(pid).map_or(0.0, |fields| (fields[13] + fields[14]) as f64 / TICKS)
}

/// A line of `/proc/PID/status`, in bytes.
fn memory(pid: u32, key: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kilobytes = line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0) * 1024
}

/// A process and its children.
fn family(pid: u32) -> Vec<u32> {
    let all = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let children = ids.filter(|id| stat(*id).is_some_and(|fields| fields[1] == u64::from(pid)));
    std::iter::once(pid).chain(children).collect()
}

/// CPU of a process with its children, the ended ones among them.
fn cpu_of_family(pid: u32) -> f64 {
    family(pid).into_iter().map(cpu).sum::<f64>() + cpu_of_the_dead(pid)
}

/// Memory of a database's processes: what each has for itself, and once what they share.
fn memory_of_family(pid: u32) -> u64 {
    let family = family(pid);
    let own: u64 = family.iter().map(|id| memory(*id, "RssAnon")).sum();
    let shared = family.iter().map(|id| memory(*id, "RssShmem")).max().unwrap_or(0);
    own + shared
}

/// A watch over named processes, from [`Watch::start`] to [`Watch::end`].
pub(crate) struct Watch {
    single: Vec<(String, u32, f64)>,
    family: Option<(String, u32, f64)>,
    sampler: Option<Sampler>,
}

impl Watch {
    /// Notes where each process stands. `family` is watched together with its children.
    pub(crate) fn start(single: &[(String, u32)], family: Option<(String, u32)>) -> Self {
        for (_, pid) in single {
            // Resets the peak to what is in use now (proc(5), clear_refs).
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
        let sampler = family.as_ref().map(|(_, pid)| Sampler::start(*pid));
        let single = single.iter().map(|(name, pid)| (name.clone(), *pid, cpu(*pid))).collect();
        Self { single, family: family.map(|(name, pid)| (name, pid, cpu_of_family(pid))), sampler }
    }

    /// What each has used since.
    pub(crate) fn end(self) -> BTreeMap<String, Usage> {
        let used = |(name, pid, before): (String, u32, f64)| {
            (name, Usage { cpu: cpu(pid) - before, peak: memory(pid, "VmHWM") })
        };
        let mut all: BTreeMap<String, Usage> = self.single.into_iter().map(used).collect();
        let peak = self.sampler.map_or(0, Sampler::end);
        if let Some((name, pid, before)) = self.family {
            all.insert(name, Usage { cpu: cpu_of_family(pid) - before, peak });
        }
        all
    }
}

/// Looks at a family's memory every so often, since no counter of the kernel keeps the peak of a sum.
struct Sampler {
    over: Arc<AtomicBool>,
    peak: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Sampler {
    fn start(pid: u32) -> Self {
        let (over, peak) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stop, most) = (Arc::clone(&over), Arc::clone(&peak));
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                most.fetch_max(memory_of_family(pid), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Self { over, peak, thread }
    }

    fn end(self) -> u64 {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
        self.peak.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_cpu_and_memory() {
        let own = std::process::id();
        assert!(memory(own, "VmHWM") > 1 << 20);
        assert!(memory(own, "RssAnon") > 0);
        assert!(cpu(own) >= 0.0);
        assert!(family(own).contains(&own));
    }

    #[test]
    fn a_process_that_is_gone_has_used_nothing() {
        assert_eq!(memory(u32::MAX, "VmHWM"), 0);
        assert!(cpu_of_family(u32::MAX).abs() < f64::EPSILON);
    }
}
