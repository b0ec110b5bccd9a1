"""Makes a program of the Ruby that npm has: `ruby_program.py ruby.wasm FOLDER` writes the two modules that it lacks, as text.

The package is a library for a JavaScript host: it exports functions that start the interpreter and evaluate code, and
imports what would lead to JavaScript. `launcher.wat` is a `_start` that calls them; `host.wat` and `handles.wat` stand for
the JavaScript side, which a program without JavaScript never reaches. `wasm-merge` of binaryen joins the four.
"""
import sys
from pathlib import Path

VALUES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64"}
# Handles of Ruby's values are the values.
IDENTITY = {"resource_new_rb-abi-value", "resource_get_rb-abi-value"}
PROGRAM = """
begin
  first = ARGV.shift
  if first == "-e"
    eval(ARGV.shift, TOPLEVEL_BINDING)
  elsif first
    $0 = first
    load first
  end
  0
rescue SystemExit => e
  e.status
rescue Exception => e
  $stderr.puts e.full_message(highlight: false)
  1
ensure
  $stdout.flush
end
"""
LAUNCHER = r"""(module
  (import "wasi_snapshot_preview1" "args_sizes_get" (func $args_sizes_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "args_get" (func $args_get (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))
  (import "ruby" "memory" (memory 0))
  (import "ruby" "_initialize" (func $initialize))
  (import "ruby" "cabi_realloc" (func $realloc (param i32 i32 i32 i32) (result i32)))
  (import "ruby" "ruby-init: func(args: list<string>) -> ()" (func $ruby_init (param i32 i32)))
  (import "ruby" "rb-eval-string-protect: func(str: string) -> tuple<handle<rb-abi-value>, s32>"
    (func $eval (param i32 i32) (result i32)))
  (data $options "ruby\00-EUTF-8\00-e_=0\00--\00")
  (data $program "@PROGRAM@")
  (func $alloc (param $bytes i32) (result i32)
    (call $realloc (i32.const 0) (i32.const 0) (i32.const 4) (local.get $bytes)))
  ;; Writes the pointer and length of a string with its NUL, as the library wants them, and returns where the next begins.
  (func $push (param $list i32) (param $text i32) (result i32)
    (local $end i32)
    (local.set $end (local.get $text))
    (loop $next
      (local.set $end (i32.add (local.get $end) (i32.const 1)))
      (br_if $next (i32.load8_u (i32.sub (local.get $end) (i32.const 1)))))
    (i32.store (local.get $list) (local.get $text))
    (i32.store offset=4 (local.get $list) (i32.sub (local.get $end) (local.get $text)))
    (local.get $end))
  (func (export "_start")
    (local $argc i32) (local $bytes i32) (local $argv i32) (local $list i32) (local $at i32) (local $text i32) (local $i i32)
    (call $initialize)
    (local.set $at (call $alloc (i32.const 8)))
    (drop (call $args_sizes_get (local.get $at) (i32.add (local.get $at) (i32.const 4))))
    (local.set $argc (i32.load (local.get $at)))
    (local.set $bytes (i32.load offset=4 (local.get $at)))
    (local.set $argv (call $alloc (i32.mul (local.get $argc) (i32.const 4))))
    (drop (call $args_get (local.get $argv) (call $alloc (local.get $bytes))))
    ;; Four words of ours, then those of the pod without the program's name.
    (local.set $list (call $alloc (i32.mul (i32.add (local.get $argc) (i32.const 3)) (i32.const 8))))
    (local.set $text (call $alloc (i32.const @OPTIONS_LEN@)))
    (memory.init $options (local.get $text) (i32.const 0) (i32.const @OPTIONS_LEN@))
    (local.set $at (local.get $list))
    (loop $ours
      (local.set $text (call $push (local.get $at) (local.get $text)))
      (local.set $at (i32.add (local.get $at) (i32.const 8)))
      (local.set $i (i32.add (local.get $i) (i32.const 1)))
      (br_if $ours (i32.lt_u (local.get $i) (i32.const 4))))
    (local.set $i (i32.const 1))
    (block $done
      (loop $theirs
        (br_if $done (i32.ge_u (local.get $i) (local.get $argc)))
        (drop (call $push (local.get $at)
          (i32.load (i32.add (local.get $argv) (i32.mul (local.get $i) (i32.const 4))))))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $i (i32.add (local.get $i) (i32.const 1)))
        (br $theirs)))
    (call $ruby_init (local.get $list) (i32.add (local.get $argc) (i32.const 3)))
    (local.set $text (call $alloc (i32.const @PROGRAM_LEN@)))
    (memory.init $program (local.get $text) (i32.const 0) (i32.const @PROGRAM_LEN@))
    ;; The value of the program is a small integer, which Ruby tags in its lowest bit.
    (call $proc_exit (i32.shr_s (i32.load (call $eval (local.get $text) (i32.const @PROGRAM_LEN@))) (i32.const 1)))))
"""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def byte(self):
        self.at += 1
        return self.data[self.at - 1]

    def number(self):
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def bytes(self):
        length = self.number()
        self.at += length
        return self.data[self.at - length : self.at]


def sections(wasm):
    reader = Reader(wasm)
    reader.at = 8
    while reader.at < len(wasm):
        kind = reader.byte()
        yield kind, Reader(reader.bytes())


def functions(wasm):
    """The types of the functions that a module imports, by module and name."""
    types, found = [], {}
    for kind, reader in sections(wasm):
        if kind == 1:
            for _ in range(reader.number()):
                assert reader.byte() == 0x60
                types.append([[VALUES[b] for b in reader.bytes()] for _ in ("params", "results")])
        elif kind == 2:
            for _ in range(reader.number()):
                module, name = reader.bytes().decode(), reader.bytes().decode()
                assert reader.byte() == 0, f"{module}.{name} is no function"
                found.setdefault(module, {})[name] = types[reader.number()]
    return found


def stub(name, params, results):
    body = "(local.get 0)" if name in IDENTITY else "" if not results and name.startswith("resource_drop") else "unreachable"
    words = [f"(param {' '.join(params)})" if params else "", f"(result {' '.join(results)})" if results else "", body]
    return f'  (func (export "{name}") {" ".join(words)})'


def escaped(text):
    return "".join(c if c.isalnum() else f"\\{ord(c):02x}" for c in text)


def main(wasm, folder):
    imports = functions(Path(wasm).read_bytes())
    for module, file in (("rb-js-abi-host", "host.wat"), ("canonical_abi", "handles.wat")):
        stubs = (stub(name, *types) for name, types in imports[module].items())
        Path(folder, file).write_text("(module\n" + "\n".join(stubs) + ")\n")
    text = LAUNCHER.replace("@PROGRAM@", escaped(PROGRAM)).replace("@PROGRAM_LEN@", str(len(PROGRAM)))
    Path(folder, "launcher.wat").write_text(text.replace("@OPTIONS_LEN@", str(len("ruby -EUTF-8 -e_=0 -- "))))


main(*sys.argv[1:])
