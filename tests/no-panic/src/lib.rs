//! The link proof: `Engine::step` can neither panic nor allocate.
//!
//! The panic handler and the allocator call functions that exist nowhere. After link-time optimisation they are
//! gone if nothing can reach them; if something can, the link fails and names the function. `cargo xtask prove`
//! builds this, and builds it again with a panic and with an allocation planted, which must both fail.

#![no_std]

extern crate alloc;

use core::alloc::{GlobalAlloc, Layout};
use core::panic::PanicInfo;

use keyrx_engine::{Effect, Effects, Engine, Input, Time};

#[link(name = "c")]
unsafe extern "C" {
    fn keyrx_panic_is_reachable() -> !;
    fn keyrx_allocation_is_reachable() -> !;
    fn free(block: *mut u8);
}

#[panic_handler]
fn panic(_: &PanicInfo<'_>) -> ! {
    // SAFETY: never runs; it is not even linked.
    unsafe { keyrx_panic_is_reachable() }
}

struct NoAllocator;

// SAFETY: `alloc` never returns; blocks to free come from a program whose allocator is malloc.
unsafe impl GlobalAlloc for NoAllocator {
    unsafe fn alloc(&self, _: Layout) -> *mut u8 {
        // SAFETY: never runs; it is not even linked.
        unsafe { keyrx_allocation_is_reachable() }
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: see above.
        unsafe { free(block) }
    }
}

#[global_allocator]
static ALLOCATOR: NoAllocator = NoAllocator;

struct Sink(extern "C" fn(&Effect));

impl Effects for Sink {
    fn push(&mut self, effect: Effect) {
        (self.0)(&effect);
    }
}

/// The one entry: everything it can reach is what the proof is about.
#[unsafe(no_mangle)]
pub extern "C" fn step(engine: &mut Engine, input: &Input, push: extern "C" fn(&Effect), due: &mut Option<Time>) {
    let mut sink = Sink(push);
    *due = engine.step(*input, &mut sink);
    #[cfg(plant_panic)]
    {
        let bytes = [1_u8, 2, 3];
        let planted = bytes[due.map_or(0, |time| time.micros() as usize)];
        *due = Some(Time::from_micros(planted.into()));
    }
    #[cfg(plant_allocation)]
    {
        let planted = alloc::boxed::Box::new(Sink(push));
        alloc::boxed::Box::leak(planted).push(Effect { time: Time::ZERO, ..unread(input) });
    }
}

#[cfg(plant_allocation)]
fn unread(input: &Input) -> Effect {
    use keyrx_engine::{Cause, Rule};
    let Input::Key(event) = *input else { loop {} };
    let cause = Cause { key: event.key, device: event.device, mapping: None, rule: Rule::Unmapped };
    Effect { time: event.time, motion: event.motion, key: event.key, cause }
}
