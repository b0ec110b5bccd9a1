;; `run` logs one message.
(component
    (import "wasi:logging/logging@0.1.0-draft" (instance $logging
        (type $l (enum "trace" "debug" "info" "warn" "error" "critical"))
        (export "level" (type $level (eq $l)))
        (export "log" (func (param "level" $level) (param "context" string) (param "message" string)))))
    (core module $libc (memory (export "mem") 1) (data (i32.const 16) "orderstoo late"))
    (core instance $libc (instantiate $libc))
    (core func $log (canon lower (func $logging "log") (memory (core memory $libc "mem"))))
    (core module $m
        (import "host" "log" (func $log (param i32 i32 i32 i32 i32)))
        (func (export "log") (call $log (i32.const 3) (i32.const 16) (i32.const 6) (i32.const 22) (i32.const 8))))
    (core instance $i (instantiate $m (with "host" (instance (export "log" (func $log))))))
    (func $run (canon lift (core func $i "log")))
    (export "run" (func $run)))
