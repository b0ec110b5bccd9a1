//! Simulated clusters: real components, faults from a seed, checks after every change, and in the end all is as asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use wkube_testkit::fake_runtime::{Run, Script, Span};
use wkube_testkit::sim::faults::Faults;
use wkube_testkit::sim::objects::{deployment, job};
use wkube_testkit::sim::{Collection, Sim, simulate};

/// Returns the seeds of every push, or those that `SEEDS=100..200` asks for: a longer hunt, or a failure again.
fn seeds() -> std::ops::Range<u64> {
    let wanted = std::env::var("SEEDS").ok();
    let wanted = wanted.as_deref().and_then(|wanted| wanted.split_once(".."));
    wanted.map_or(0..20, |(from, to)| from.parse().expect("a number")..to.parse().expect("a number"))
}

/// Servers whose images and starts fail now and then.
const SHAKY: Script = Script { pull_fails: 0.1, start_fails: 0.1, ..Script::SERVER };

async fn rollout(sim: &Sim) {
    sim.ledger().script("web:1", SHAKY);
    sim.ledger().script("web:2", SHAKY);
    sim.faults(Faults::SOME);
    sim.apply(deployment("web", 6, "web:1")).await;
    sim.run_for(Duration::from_secs(8)).await;
    sim.apply(deployment("web", 6, "web:2")).await;
    sim.run_for(Duration::from_secs(4)).await;
    sim.restart_components();
    sim.run_for(Duration::from_secs(10)).await;
    sim.until_deployed("web", 6, "web:2").await;
}

#[test]
fn a_rollout_survives_faults_and_a_restart_of_the_control_plane() {
    for seed in seeds() {
        simulate(seed, 3, rollout);
    }
}

/// Fails at the first line in which two runs of a seed differ.
fn check_repeats(seed: u64, nodes: usize, scenario: &impl AsyncFn(&Sim)) {
    let (first, second) = (simulate(seed, nodes, scenario), simulate(seed, nodes, scenario));
    if let Some(line) = first.iter().zip(&second).position(|(a, b)| a != b) {
        let from = line.saturating_sub(5);
        let show = |log: &[String]| log[from..(line + 5).min(log.len())].join("\n");
        panic!("SEED={seed}: line {line} differs\n{}\n--- and ---\n{}", show(&first), show(&second));
    }
    assert_eq!(first.len(), second.len(), "SEED={seed}");
}

#[test]
fn one_seed_gives_one_run() {
    for seed in [3, 11] {
        check_repeats(seed, 3, &rollout);
        check_repeats(seed, 3, &node_loss);
        check_repeats(seed, 2, &job_with_lost_replies);
    }
}

#[test]
fn another_seed_gives_another_run() {
    assert_ne!(simulate(1, 2, rollout), simulate(2, 2, rollout));
}

#[test]
fn a_deployment_is_scaled_up_and_down_under_faults() {
    for seed in seeds() {
        simulate(seed, 3, async |sim| {
            sim.faults(Faults::SOME);
            for (replicas, seconds) in [(2, 5), (10, 3), (4, 6), (0, 2), (7, 4)] {
                sim.apply(deployment("web", replicas, "web:1")).await;
                sim.run_for(Duration::from_secs(seconds)).await;
            }
            sim.until_deployed("web", 7, "web:1").await;
        });
    }
}

#[test]
fn two_changes_of_image_in_a_row_end_with_the_last() {
    for seed in seeds() {
        simulate(seed, 2, async |sim| {
            sim.faults(Faults::SOME);
            for image in ["web:1", "web:2", "web:3", "web:1"] {
                sim.apply(deployment("web", 5, image)).await;
                sim.run_for(Duration::from_secs(3)).await;
            }
            sim.until_deployed("web", 5, "web:1").await;
        });
    }
}

#[test]
fn a_rollout_to_an_image_that_does_not_exist_keeps_the_old_pods_serving() {
    simulate(1, 2, async |sim| {
        sim.ledger().script("web:2", Script::MISSING);
        sim.apply(deployment("web", 4, "web:1")).await;
        sim.until_deployed("web", 4, "web:1").await;
        sim.apply(deployment("web", 4, "web:2")).await;
        sim.run_for(Duration::from_mins(2)).await;
        let old = sim.ledger().running().iter().filter(|start| start.image == "web:1").count();
        sim.expect(old == 3, "three of four old pods go on: 25 % may be unavailable");
        sim.apply(deployment("web", 4, "web:1")).await;
        sim.until_deployed("web", 4, "web:1").await;
    });
}

/// Whether `replicas` pods that nobody deletes run, none of them on `lost`.
async fn is_replaced(sim: &Sim, replicas: usize, lost: &str) -> bool {
    let is_live = |pod: &&Value| pod["metadata"]["deletionTimestamp"].is_null();
    let pods = sim.pods("web").await;
    let live: Vec<_> = pods.iter().filter(is_live).collect();
    live.len() == replicas
        && live.iter().all(|pod| pod["spec"]["nodeName"] != lost && pod["status"]["phase"] == "Running")
}

async fn node_loss(sim: &Sim) {
    sim.apply(deployment("web", 6, "web:1")).await;
    sim.until_deployed("web", 6, "web:1").await;
    sim.faults(Faults::SOME);
    sim.crash_node("n2");
    sim.run_for(Duration::from_mins(4)).await;
    let bound = sim.pods("web").await.iter().filter(|pod| pod["spec"]["nodeName"] == "n2").count();
    sim.expect(bound == 2, "pods tolerate five minutes of an unreachable node");
    sim.until("pods are replaced", Duration::from_mins(4), async || is_replaced(sim, 6, "n2").await).await;
    sim.start_node("n2").await;
    sim.until_deployed("web", 6, "web:1").await;
}

#[test]
fn pods_of_a_crashed_node_are_replaced_after_their_toleration() {
    for seed in seeds().take(5) {
        simulate(seed, 3, node_loss);
    }
}

#[test]
fn a_node_that_was_silent_ends_the_pods_that_were_replaced_meanwhile() {
    for seed in seeds().take(5) {
        simulate(seed, 3, async |sim| {
            sim.apply(deployment("web", 6, "web:1")).await;
            sim.until_deployed("web", 6, "web:1").await;
            sim.silence_node("n1");
            sim.until("pods are replaced", Duration::from_mins(8), async || is_replaced(sim, 6, "n1").await).await;
            let alone = sim.ledger().running().iter().filter(|start| start.node == "n1").count();
            sim.expect(alone == 2, "a node that is cut off goes on");
            sim.heal_node("n1");
            sim.until_deployed("web", 6, "web:1").await;
        });
    }
}

#[test]
fn a_node_that_is_silent_for_a_minute_keeps_its_pods() {
    simulate(2, 3, async |sim| {
        sim.apply(deployment("web", 6, "web:1")).await;
        sim.until_deployed("web", 6, "web:1").await;
        let before = sim.ledger().starts().len();
        sim.silence_node("n3");
        sim.run_for(Duration::from_mins(1)).await;
        sim.heal_node("n3");
        sim.until_deployed("web", 6, "web:1").await;
        sim.expect(sim.ledger().starts().len() == before, "nothing is started again");
    });
}

/// How often each index of an indexed Job succeeded.
fn successes(sim: &Sim) -> BTreeMap<String, usize> {
    let mut successes = BTreeMap::new();
    for start in sim.ledger().starts().into_values().flatten().filter(|start| start.exit_code() == Some(0)) {
        *successes.entry(start.env["JOB_COMPLETION_INDEX"].clone()).or_default() += 1;
    }
    successes
}

async fn job_with_lost_replies(sim: &Sim) {
    let run = Run::Once { takes: Span::millis(200, 3_000), fails: 0.2 };
    sim.ledger().script("task:1", Script { run, ..Script::TASK });
    sim.faults(Faults { reply_lost: 0.1, ..Faults::SOME });
    sim.apply(job("sum", 6, 3, "task:1")).await;
    sim.run_for(Duration::from_secs(20)).await;
    sim.faults(Faults::NONE);
    let is_complete = async || sim.get(&Collection::JOBS, "sum").await["status"]["succeeded"] == json!(6);
    sim.until("the job is complete", Duration::from_mins(10), is_complete).await;
    let status = sim.get(&Collection::JOBS, "sum").await["status"].take();
    sim.expect(status["completedIndexes"] == "0-5", "each index is counted once");
    // A pod whose creation was answered into the void may have run to its end before its twin was noticed.
    let is_lost =
        |line: &&String| line.contains("reply lost") && line.ends_with("POST /api/v1/namespaces/default/pods");
    let lost = sim.log().lines().iter().filter(is_lost).count();
    let runs = successes(sim);
    sim.expect(runs.len() == 6 && runs.values().sum::<usize>() <= 6 + lost, &format!("{lost} lost, {runs:?}"));
    sim.run_for(Duration::from_mins(1)).await;
    sim.expect(sim.ledger().running().is_empty(), "nothing runs after the job");
}

#[test]
fn a_job_counts_each_index_once_despite_lost_replies() {
    for seed in seeds() {
        simulate(seed, 2, job_with_lost_replies);
    }
}
