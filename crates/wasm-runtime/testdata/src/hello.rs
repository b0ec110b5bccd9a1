use std::io::Write;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    match a.get(1).map(|s| s.as_str()) {
        Some("spin") => {
            let mut x = 1u64;
            loop {
                x = core::hint::black_box(x.wrapping_mul(6364136223846793005).wrapping_add(1));
            }
        }
        Some("sleep") => std::thread::sleep(std::time::Duration::from_millis(a[2].parse().unwrap())),
        Some("alloc") => {
            let n: usize = a[2].parse().unwrap();
            let v = vec![1u8; n << 20];
            println!("{}", core::hint::black_box(&v).len());
        }
        Some("exit") => std::process::exit(a[2].parse().unwrap()),
        Some("abort") => std::process::abort(),
        Some("panic") => panic!("boom"),
        Some("lines") => {
            for i in 0..a[2].parse::<u64>().unwrap() {
                println!("line {i}");
            }
            std::io::stdout().flush().unwrap();
        }
        Some("read") => {
            let n = std::fs::read("/data/f").map(|v| v.len());
            println!("{n:?}");
            println!("{:?}", std::fs::write("/data/g", b"x"));
        }
        _ => println!("hello from rust wasi, args={:?} env={:?}", a, std::env::var("FOO")),
    }
}
