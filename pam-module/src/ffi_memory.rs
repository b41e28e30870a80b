//! Memory for this module: the process's own, and a reserve for when that runs out.
//!
//! In: requests of Rust code here. Out: memory. Without the reserve Rust would abort the process, which is sudo (threat B08, STYLE §6).
//! The reserve is only ever used up: this module lives in processes that end soon. Spec: GlobalAlloc, malloc(3).

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in reserve. They cost address space only until they are needed; one phase needs less than half.
const RESERVE: usize = 2 * 1024 * 1024;

#[global_allocator]
static MEMORY: Memory = Memory { reserve: UnsafeCell::new([0; RESERVE]), used: AtomicUsize::new(0) };

struct Memory {
    reserve: UnsafeCell<[u8; RESERVE]>,
    used: AtomicUsize,
}

// SAFETY: each part of the reserve is handed out once, by an atomic counter that only grows.
unsafe impl Sync for Memory {}

/// Whether the process's own memory has run out in this process.
pub(crate) fn was_short() -> bool {
    MEMORY.used.load(Ordering::Relaxed) != 0
}

impl Memory {
    fn start(&self) -> usize {
        self.reserve.get().addr()
    }

    fn is_of_reserve(&self, block: *mut u8) -> bool {
        block.addr().checked_sub(self.start()).is_some_and(|offset| offset < RESERVE)
    }

    /// A part of the reserve, or null when that is used up too.
    fn spare(&self, layout: Layout) -> *mut u8 {
        // Room for the alignment of the part, wherever the last one ended.
        let Some(room) = layout.size().checked_add(layout.align()) else { return ptr::null_mut() };
        let grown = |used: usize| used.checked_add(room).filter(|end| *end <= RESERVE);
        let Ok(before) = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown) else {
            return ptr::null_mut();
        };
        let part = self.reserve.get().cast::<u8>().wrapping_add(before);
        part.map_addr(|address| address.next_multiple_of(layout.align()))
    }
}

// SAFETY: blocks come from malloc(3) by way of `System`, or are disjoint parts of the reserve with the size and alignment asked for;
// nothing here unwinds.
unsafe impl GlobalAlloc for Memory {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises what `System` asks for: a size that is not zero.
        let block = unsafe { System.alloc(layout) };
        if block.is_null() { self.spare(layout) } else { block }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if !self.is_of_reserve(block) {
            // SAFETY: it is not of the reserve, so it came from `System` with this layout.
            unsafe { System.dealloc(block, layout) };
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if !self.is_of_reserve(block) {
            // SAFETY: it came from `System` with this layout; the size is the caller's promise.
            let grown = unsafe { System.realloc(block, layout, size) };
            if !grown.is_null() {
                return grown;
            }
        }
        let Ok(wanted) = Layout::from_size_align(size, layout.align()) else { return ptr::null_mut() };
        let moved = self.spare(wanted);
        if !moved.is_null() {
            // SAFETY: the new part has been handed out just now, so they do not overlap, and both have this many bytes.
            unsafe { ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            // SAFETY: the block is the caller's own, and is not used after this call.
            unsafe { self.dealloc(block, layout) };
        }
        moved
    }
}
