;; Writes 100 MiB to its standard error, without a newline.
(module
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 3)
    (func (export "_start") (local $left i32)
        (memory.fill (i32.const 65536) (i32.const 120) (i32.const 65536))
        (local.set $left (i32.const 104857600))
        (loop $again
            (i32.store (i32.const 0) (i32.const 65536))
            (i32.store (i32.const 4) (i32.const 65536))
            (if (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $proc_exit (i32.const 1))))
            (local.set $left (i32.sub (local.get $left) (i32.load (i32.const 8))))
            (br_if $again (i32.gt_s (local.get $left) (i32.const 0))))))
