;; A CGI program in WebAssembly's text format: it writes a head and a body to standard output.
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  ;; The response: a head, an empty line, and the body.
  (data (i32.const 16) "Content-Type: text/plain; charset=utf-8\r\n\r\nHello, world!\n")
  (func (export "_start")
    ;; One piece of output: its address, and its length in bytes.
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 57))
    ;; To standard output (1), one piece, described at address 0. The number of bytes that were
    ;; written goes to address 8.
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))
