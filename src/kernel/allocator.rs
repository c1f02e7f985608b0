//! The memory of a program whose threads are few or one, which ends with a line where there is none left: std would
//! abort.
//!
//! With musl it is dlmalloc's, behind a lock of two instructions: musl's own allocator has a system call for nearly
//! each allocation that is larger than a page, and dlmalloc's lock is musl's mutex, which costs more than the
//! allocation.

use std::alloc::{GlobalAlloc, Layout};

#[cfg(target_env = "musl")]
type Source = dl::Source;
#[cfg(not(target_env = "musl"))]
type Source = std::alloc::System;

/// The allocator.
pub struct Allocator(Source);

impl Allocator {
    /// Without anything allocated.
    pub const fn new() -> Self {
        #[cfg(target_env = "musl")]
        let source = dl::Source::new();
        #[cfg(not(target_env = "musl"))]
        let source = std::alloc::System;
        Self(source)
    }
}

/// `memory`, which is null when there was none.
fn given(memory: *mut u8) -> *mut u8 {
    if memory.is_null() {
        super::start::end(
            "kase: out of memory\n  help: raise the limit of memory (ulimit -v, the cgroup's), or free some\n",
        );
    }
    memory
}

// SAFETY: its source is an allocator, which is asked the same.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the source's condition.
        given(unsafe { self.0.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { self.0.alloc_zeroed(layout) })
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { self.0.dealloc(memory, layout) };
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { self.0.realloc(memory, layout, size) })
    }
}

#[cfg(target_env = "musl")]
mod dl {
    use dlmalloc::Dlmalloc;
    use std::alloc::{GlobalAlloc, Layout};
    use std::cell::UnsafeCell;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::thread::yield_now;

    /// dlmalloc.
    pub struct Source {
        taken: AtomicBool,
        heap: UnsafeCell<Dlmalloc>,
    }

    // SAFETY: the heap is reached through `with` alone, by one thread at a time.
    unsafe impl Sync for Source {}

    impl Source {
        /// An empty heap.
        pub const fn new() -> Self {
            Self { taken: AtomicBool::new(false), heap: UnsafeCell::new(Dlmalloc::new()) }
        }

        fn with<T>(&self, act: impl FnOnce(&mut Dlmalloc) -> T) -> T {
            while self.taken.swap(true, Ordering::Acquire) {
                yield_now();
            }
            // SAFETY: whoever has set `taken` is alone, and `act`, a call of dlmalloc's, does not come back here.
            let done = act(unsafe { &mut *self.heap.get() });
            self.taken.store(false, Ordering::Release);
            done
        }
    }

    // SAFETY: dlmalloc keeps the promises of an allocator, and is told the layouts that it was given.
    unsafe impl GlobalAlloc for Source {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            // SAFETY: the caller's promise is dlmalloc's condition.
            self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            // SAFETY: as above.
            self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
        }

        unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
            // SAFETY: as above.
            self.with(|heap| unsafe { heap.free(memory, layout.size(), layout.align()) });
        }

        unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            // SAFETY: as above.
            self.with(|heap| unsafe { heap.realloc(memory, layout.size(), layout.align(), size) })
        }
    }
}
