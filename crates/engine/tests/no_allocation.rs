//! Stepping allocates nothing.
#![allow(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::indexing_slicing, reason = "a test")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use keyrx_engine::Engine;

mod typing;

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's duties are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller's duties are the same.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_million_events_allocate_nothing() {
    let events = typing::events(1_000_000);
    assert!(events.len() >= 1_000_000);
    for keymap in [typing::remaps_and_a_layer(), typing::home_row_mods()] {
        let mut engine = Engine::new(keymap);
        let before = ALLOCATIONS.load(Ordering::Relaxed);
        let effects = typing::play(&mut engine, &events);
        assert_eq!(ALLOCATIONS.load(Ordering::Relaxed) - before, 0);
        assert!(effects > events.len() / 2);
    }
}
