//! Copy texts through the memory of a network in a program of Rust, each in a thread of its own.
//!
//!     ntm-export --format native RUN --output model        (RUN: ntm-train --output RUN, the task copy)
//!     rustc -O -L native=model/native examples/native_copy.rs
//!     ./native_copy "a text" "another one"
//!
//! The exit code is 0 if no bit is wrong, 1 if some are, 2 for trouble.

use std::io::Write;

/// I, O and N of `ntm.h`.
const INPUTS: usize = 9;
const OUTPUTS: usize = 8;
const LOCATIONS: usize = 128;

#[repr(C)]
struct Instance {
    _private: [u8; 0],
}

#[link(name = "ntm", kind = "static")]
extern "C" {
    fn ntm_create() -> *mut Instance;
    fn ntm_free(instance: *mut Instance);
    fn ntm_reset(instance: *mut Instance);
    fn ntm_run(instance: *mut Instance, x: *const f32, y: *mut f32, steps: usize);
}

/// A network with a state of its own.
struct Network(*mut Instance);

// An instance shares nothing, so it may go to another thread; two threads may not use it at once.
unsafe impl Send for Network {}

impl Network {
    fn new() -> Option<Self> {
        let instance = unsafe { ntm_create() };
        (!instance.is_null()).then_some(Self(instance))
    }

    fn reset(&mut self) {
        unsafe { ntm_reset(self.0) }
    }

    /// The next steps, as many as there are inputs.
    fn run(&mut self, x: &[[f32; INPUTS]]) -> Vec<[f32; OUTPUTS]> {
        let mut y = vec![[0.0; OUTPUTS]; x.len()];
        unsafe { ntm_run(self.0, x.as_ptr().cast(), y.as_mut_ptr().cast(), x.len()) }
        y
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        unsafe { ntm_free(self.0) }
    }
}

/// The network sees each byte, then the delimiter; then it outputs the bytes from its memory.
fn copy(network: &mut Network, text: &[u8]) -> Vec<u8> {
    let mut x = vec![[0.0; INPUTS]; 2 * text.len() + 1];
    for (step, byte) in x.iter_mut().zip(text) {
        for (bit, value) in step[..8].iter_mut().enumerate() {
            *value = f32::from(byte >> bit & 1);
        }
    }
    x[text.len()][8] = 1.0; // the delimiter
    network.reset();
    let y = network.run(&x);
    let byte = |bits: &[f32; OUTPUTS]| (0..8).fold(0, |byte, bit| byte | u8::from(bits[bit] > 0.5) << bit);
    y[text.len() + 1..].iter().map(byte).collect()
}

fn main() {
    let texts: Vec<String> = std::env::args().skip(1).collect();
    if let Some(text) = texts.iter().find(|text| text.len() > LOCATIONS - 2) {
        eprintln!("native_copy: the memory holds {} bytes, not {}", LOCATIONS - 2, text.len());
        std::process::exit(2);
    }
    let threads: Vec<_> = texts
        .iter()
        .map(|text| {
            let Some(mut network) = Network::new() else {
                eprintln!("native_copy: no memory");
                std::process::exit(2);
            };
            let text = text.clone().into_bytes();
            std::thread::spawn(move || copy(&mut network, &text))
        })
        .collect();
    let mut wrong = 0;
    for (thread, text) in threads.into_iter().zip(&texts) {
        let copied = thread.join().expect("a thread that copies does not panic");
        wrong |= i32::from(copied != text.as_bytes());
        let mut line = copied;
        line.push(b'\n');
        std::io::stdout().write_all(&line).unwrap_or_else(|_| std::process::exit(2));
    }
    std::process::exit(wrong);
}
