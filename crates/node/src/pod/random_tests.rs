//! Random lives: a runtime that answers in any order, probes that say anything, a node that grants or does not, kills at any
//! moment. Whatever happens, the rules of `World::check` hold after every step.

use std::collections::BTreeMap;

use wkube_base::Rng;

use super::*;
use crate::admission::Fit;

const LIVES: u64 = 2_000;
const STEPS: usize = 60;
/// In the order in which they start.
const INITS: [(&str, bool); 4] = [("i", false), ("s", true), ("j", false), ("t", true)];

fn spec(policy: &str, cpu: &str) -> Value {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    let inits = INITS.map(|(name, is_sidecar)| {
        if is_sidecar {
            json!({ "name": name, "restartPolicy": "Always", "startupProbe": probe })
        } else {
            json!({ "name": name })
        }
    });
    let restarts = json!([{ "resourceName": "memory", "restartPolicy": "RestartContainer" }]);
    json!({ "restartPolicy": policy, "initContainers": inits,
        "containers": [{ "name": "a", "livenessProbe": probe, "readinessProbe": probe, "resizePolicy": restarts,
            "resources": { "requests": { "cpu": cpu, "memory": cpu } } }, { "name": "b" }] })
}

#[test]
fn random_lives_keep_the_rules() {
    for seed in 0..LIVES {
        let rng = Rng::seeded(seed);
        let policy = ["Always", "OnFailure", "Never"][rng.below(3)];
        let mut world = World::new(policy, seed);
        for _ in 0..STEPS {
            world.random_step(&rng);
        }
        world.end();
    }
}

/// A runtime that holds what it was asked to run, and the rules that every step must keep.
struct World {
    phase: Phase,
    seed: u64,
    policy: &'static str,
    now: i64,
    /// Container -> attempt, and the deadline of its stop.
    held: BTreeMap<String, (u32, Option<Timestamp>)>,
    /// When each container that failed may start again at the earliest.
    backs_off_until: BTreeMap<String, i64>,
    is_killed: bool,
    is_prepared: bool,
    /// About which generation the node was asked and has not answered.
    asked: Option<i64>,
    over: Option<String>,
    finals: usize,
    releases: usize,
}

impl World {
    fn new(policy: &'static str, seed: u64) -> Self {
        let (phase, effects) = Phase::begin(pod(&spec(policy, "1")), at(0));
        let mut world = Self {
            phase,
            seed,
            policy,
            now: 0,
            held: BTreeMap::new(),
            backs_off_until: BTreeMap::new(),
            is_killed: false,
            is_prepared: false,
            asked: None,
            over: None,
            finals: 0,
            releases: 0,
        };
        world.check(&effects);
        world
    }

    fn give(&mut self, input: Input) {
        self.is_killed |= matches!(input, Input::Kill { .. });
        let was_stopped = matches!(self.phase, Phase::Stopped(_));
        let (next, effects) = self.phase.clone().step(input, at(self.now));
        assert!(!was_stopped || matches!(next, Phase::Stopped(_)), "a UID never runs again (seed {})", self.seed);
        self.phase = next;
        self.check(&effects);
        let is_heard = !self.is_killed || matches!(self.phase, Phase::Stopping(_) | Phase::Stopped(_));
        assert!(is_heard, "a kill is never dropped (seed {})", self.seed);
    }

    fn check(&mut self, effects: &[Effect]) {
        let seed = self.seed;
        for effect in effects {
            match effect {
                Effect::Start { container, attempt } => self.check_start(container, *attempt),
                Effect::Stop { container, attempt, deadline } => self.check_stop(container, *attempt, *deadline),
                Effect::Resize { container, attempt } => {
                    assert_eq!(
                        self.held.get(container).map(|held| held.0),
                        Some(*attempt),
                        "only what runs (seed {seed})"
                    );
                }
                Effect::Allocate => {
                    let generation = self.phase.life().pod.metadata.generation;
                    assert_ne!(self.asked, generation, "one question about each spec at a time (seed {seed})");
                    self.asked = generation;
                }
                Effect::Release => {
                    assert!(self.held.is_empty(), "released while something runs (seed {seed})");
                    self.releases += 1;
                }
                Effect::Publish(Report::Final) => self.finals += 1,
                Effect::Forget => assert_eq!(self.finals, 1, "the last status comes before the removal (seed {seed})"),
                Effect::Prepare | Effect::Publish(Report::Progress) | Effect::Record(_) => {}
            }
        }
        assert!(self.finals <= 1 && self.releases <= 1, "seed {seed}");
        let word = status_of(&self.phase, None, None, at(self.now)).phase.unwrap();
        let is_over = matches!(word.as_str(), "Succeeded" | "Failed");
        assert_eq!(is_over, matches!(self.phase, Phase::Stopped(_)), "{word} (seed {seed})");
        if is_over {
            assert_eq!(self.over.get_or_insert(word.clone()), &word, "a terminal phase stays (seed {seed})");
        }
    }

    fn check_start(&mut self, name: &str, attempt: u32) {
        let seed = self.seed;
        assert!(!self.is_killed, "no start after a kill (seed {seed})");
        let earliest = self.backs_off_until.get(name).copied().unwrap_or(0);
        assert!(self.now >= earliest, "{name} starts at {} instead of {earliest} (seed {seed})", self.now);
        let old = self.held.insert(name.to_owned(), (attempt, None));
        assert!(old.is_none(), "{name} is started twice (seed {seed})");
        let place = INITS.iter().position(|(init, _)| *init == name).unwrap_or(INITS.len());
        // An app that runs again does not wait for the sidecars a second time; an init container has its turn once.
        let is_first = attempt == 0;
        for (before, is_sidecar) in INITS[..place].iter().filter(|_| is_first) {
            let state = self.state(before);
            let is_through = match (state, is_sidecar) {
                (State::Exited(ended), false) => ended.code == 0,
                (State::Up { started, .. }, true) => started,
                _ => false,
            };
            assert!(is_through, "{name} starts before {before} lets it (seed {seed})");
        }
    }

    fn check_stop(&mut self, name: &str, attempt: u32, deadline: Timestamp) {
        let seed = self.seed;
        let held = self.held.get_mut(name).unwrap_or_else(|| panic!("only what runs is stopped (seed {seed})"));
        assert_eq!(held.0, attempt);
        assert!(held.1.is_none_or(|before| deadline < before), "deadlines only shrink (seed {seed})");
        held.1 = Some(deadline);
        if !matches!(self.phase, Phase::Stopping(_)) {
            return;
        }
        let place = INITS.iter().position(|(init, is_sidecar)| *is_sidecar && *init == name);
        let Some(place) = place else { return };
        let later = |other: &str| {
            INITS.iter().position(|(init, is_sidecar)| *is_sidecar && *init == other).is_none_or(|other| other > place)
        };
        let runs_on: Vec<&String> = self.held.keys().filter(|other| other.as_str() != name && later(other)).collect();
        assert!(runs_on.is_empty(), "the sidecar {name} is stopped before {runs_on:?} have ended (seed {seed})");
    }

    fn state(&self, name: &str) -> State {
        self.phase.life().containers.iter().find(|container| container.name == name).unwrap().state.clone()
    }

    /// A container ended: the next start waits 0, 10, 20 … 300 seconds, unless somebody asked for its end.
    fn exit(&mut self, name: &str, attempt: u32, code: i32) {
        self.held.remove(name);
        let event = ContainerEvent::Exited { container: name.into(), attempt, ended: ended(code, self.now) };
        self.give(Input::Runtime(event));
        if let State::Waiting { until, .. } = self.state(name) {
            let wait = until.as_second() - self.now;
            assert!([10, 20, 40, 80, 160, 300].contains(&wait), "{wait} (seed {})", self.seed);
            assert!(self.policy != "Never" || name == "s" || name == "t", "it never starts again (seed {})", self.seed);
            self.backs_off_until.insert(name.to_owned(), until.as_second());
        }
    }

    fn random_step(&mut self, rng: &Rng) {
        self.now += i64::try_from(rng.below(20)).unwrap();
        let name = ["i", "s", "j", "t", "a", "b"][rng.below(6)].to_owned();
        let held = self.held.get(&name).copied();
        let attempt = held.map_or(u32::try_from(rng.below(3)).unwrap(), |held| held.0);
        let verdict = if rng.below(2) == 0 { Verdict::Success } else { Verdict::Failure };
        let kind = [ProbeKind::Startup, ProbeKind::Liveness, ProbeKind::Readiness][rng.below(3)];
        match rng.below(16) {
            0 if rng.below(8) == 0 => {
                let kills = [Kill::Deleted, Kill::NodeShutdown, Kill::DeadlineExceeded];
                self.give(Input::Kill {
                    grace: Duration::from_secs(rng.below(40) as u64),
                    kill: kills[rng.below(3)].clone(),
                });
            }
            1 if !self.is_prepared => {
                self.is_prepared = true;
                self.give(Input::Prepared { ip: IpAddr::from([10, 42, 0, 2]) });
            }
            2..=4 => {
                self.give(Input::Runtime(ContainerEvent::Started { container: name, attempt, image_id: "i".into() }));
            }
            5 if held.is_some() && self.state(&name) == State::Starting => {
                self.held.remove(&name);
                let failure = StartFailure::Pull { reason: "ErrImagePull", message: "no".into() };
                self.give(Input::Runtime(ContainerEvent::StartFailed { container: name, attempt, failure }));
            }
            6..=7 if held.is_some() => self.exit(&name, attempt, i32::try_from(rng.below(2)).unwrap()),
            8..=9 => self.give(Input::Probe { container: name, attempt, kind, verdict }),
            10 => self.resize(rng),
            11 if self.asked.is_some() => {
                let (no, generation) = (|| "no".to_owned(), self.asked.take());
                let fits = [Fit::Granted, Fit::Deferred(no()), Fit::Infeasible(no())];
                self.give(Input::Allocated { generation, fit: fits[rng.below(3)].clone() });
            }
            _ => self.give(Input::Timer),
        }
    }

    fn resize(&mut self, rng: &Rng) {
        let mut wanted = Pod::clone(&pod(&spec(self.policy, ["1", "2", "3"][rng.below(3)])));
        wanted.metadata.generation = self.phase.life().pod.metadata.generation.map(|generation| generation + 1);
        self.give(Input::Desired(Arc::new(wanted)));
    }

    /// After a kill everything that is asked to stop does, and then the pod is over, released and told.
    fn end(&mut self) {
        self.give(Input::Kill { grace: Duration::ZERO, kill: Kill::Deleted });
        while let Some((name, (attempt, _))) =
            self.held.iter().find(|(_, held)| held.1.is_some()).map(|(n, h)| (n.clone(), *h))
        {
            self.exit(&name, attempt, 137);
        }
        assert!(self.held.is_empty(), "{:?} were never asked to stop (seed {})", self.held, self.seed);
        assert!(matches!(self.phase, Phase::Stopped(_)), "{:?}", self.phase);
        // A pod that the agent's own shutdown ended tells nothing.
        let is_told = usize::from(
            !matches!(&self.phase, Phase::Stopped(stopped) if stopped.ending == Ending::Killed(Kill::NodeShutdown)),
        );
        assert_eq!((self.finals, self.releases), (is_told, 1), "seed {}", self.seed);
    }
}
