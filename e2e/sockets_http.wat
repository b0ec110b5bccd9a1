;; A server that knows nothing of wkube: it accepts on descriptor 3 and answers what it hears with a page of HTTP/1.1.
(module
  (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_close" (func $close (param i32) (result i32)))
  (memory (export "memory") 1)
  ;; 0: the connection; 4: how many bytes; 8: where to read to; 16: what to write
  (data (i32.const 8) "\00\04\00\00\00\20\00\00")
  (data (i32.const 16) "\00\01\00\00\47\00\00\00")
  (data (i32.const 256) "HTTP/1.1 200 OK\0d\0acontent-length: 13\0d\0aconnection: close\0d\0a\0d\0asockets speak")
  (func (export "_start")
    (loop $next
      (if (call $accept (i32.const 3) (i32.const 0) (i32.const 0)) (then (return)))
      (drop (call $read (i32.load (i32.const 0)) (i32.const 8) (i32.const 1) (i32.const 4)))
      (if (i32.load (i32.const 4))
        (then (drop (call $write (i32.load (i32.const 0)) (i32.const 16) (i32.const 1) (i32.const 4)))))
      (drop (call $close (i32.load (i32.const 0))))
      (br $next))))
