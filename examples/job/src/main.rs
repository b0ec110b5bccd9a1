//! Counts the primes below a number: a plain `main`, as a WASI preview 1 module.

use std::process::ExitCode;

fn main() -> ExitCode {
    let limit = std::env::args().nth(1).or_else(|| std::env::var("LIMIT").ok()).unwrap_or_else(|| "100000".into());
    let Ok(limit) = limit.parse::<usize>() else {
        eprintln!("{limit:?} is not a whole number; give one as the first argument or as LIMIT");
        return ExitCode::from(2);
    };
    println!("there are {} primes below {limit}", primes_below(limit));
    ExitCode::SUCCESS
}

/// The sieve of Eratosthenes.
fn primes_below(limit: usize) -> usize {
    let mut is_composite = vec![false; limit];
    let mut count = 0;
    for number in 2..limit {
        if is_composite[number] {
            continue;
        }
        count += 1;
        // A usize of wasm32 has 32 bits, which the square of a larger number does not fit.
        for multiple in number.checked_mul(number).map_or(limit..limit, |square| square..limit).step_by(number) {
            is_composite[multiple] = true;
        }
    }
    count
}
