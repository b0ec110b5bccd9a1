;; A program for the tests of exec and attach. The first letter of its last argument says what it does:
;;   fail  prints "out" and, as an error, "err", and exits with 3
;;   many  prints 4 MiB
;;   else  copies its input to its output
(module
    (import "wasi_snapshot_preview1" "fd_read" (func $fd_read (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
    (memory (export "memory") 2)
    (data (i32.const 32) "out\nerr\n")

    ;; Writes all of it; ends the program if nobody takes it.
    (func $write (param $fd i32) (param $from i32) (param $length i32)
        (loop $again
            (i32.store (i32.const 0) (local.get $from))
            (i32.store (i32.const 4) (local.get $length))
            (if (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))
                (then (call $proc_exit (i32.const 1))))
            (local.set $from (i32.add (local.get $from) (i32.load (i32.const 8))))
            (local.set $length (i32.sub (local.get $length) (i32.load (i32.const 8))))
            (br_if $again (local.get $length))))

    (func $fail
        (call $write (i32.const 1) (i32.const 32) (i32.const 4))
        (call $write (i32.const 2) (i32.const 36) (i32.const 4))
        (call $proc_exit (i32.const 3)))

    (func $many (local $left i32)
        (local.set $left (i32.const 64))
        (loop $again
            (call $write (i32.const 1) (i32.const 65536) (i32.const 65536))
            (local.set $left (i32.sub (local.get $left) (i32.const 1)))
            (br_if $again (local.get $left))))

    (func $copy
        (loop $again
            (i32.store (i32.const 0) (i32.const 65536))
            (i32.store (i32.const 4) (i32.const 65536))
            (drop (call $fd_read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 8)))
            (if (i32.load (i32.const 8))
                (then
                    (call $write (i32.const 1) (i32.const 65536) (i32.load (i32.const 8)))
                    (br $again)))))

    (func (export "_start") (local $first i32)
        (drop (call $args_sizes_get (i32.const 16) (i32.const 20)))
        (drop (call $args_get (i32.const 64) (i32.const 4096)))
        (if (i32.load (i32.const 16)) ;; the last of the pointers at 64
            (then (local.set $first (i32.load8_u
                (i32.load (i32.add (i32.const 60) (i32.mul (i32.const 4) (i32.load (i32.const 16)))))))))
        (if (i32.eq (local.get $first) (i32.const 102)) (then (call $fail) (return)))
        (if (i32.eq (local.get $first) (i32.const 109)) (then (call $many) (return)))
        (call $copy)))
