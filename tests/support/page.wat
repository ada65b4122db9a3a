;; A hand-written handler that answers every request with a page from its data segment.
;; `support/guests.rs` inserts the page at the markers {{length}} and {{page}}.
(component
  (import "wasgi:gateway/gateway@0.1.0" (instance $gateway
    (export "environ" (type $environ (sub resource)))
    (export "start-response" (type $start-response (sub resource)))
    (type $exception-record (record
      (field "kind" string) (field "message" string) (field "traceback" string)))
    (export "exception" (type $exception (eq $exception-record)))
    (type $start-error-variant (variant
      (case "already-started") (case "head-sent") (case "refused" string)))
    (export "start-error" (type $start-error (eq $start-error-variant)))
    (export "[method]start-response.call" (func
      (param "self" (borrow $start-response))
      (param "status" (list u8))
      (param "headers" (list (tuple string (list u8))))
      (param "exc-info" (option $exception))
      (result (result (error $start-error)))))))
  (alias export $gateway "environ" (type $environ))
  (alias export $gateway "start-response" (type $start-response))
  (alias export $gateway "exception" (type $exception))

  ;; The memory is defined first, because lowering the host's functions needs it.
  (core module $memory-module
    (memory (export "memory") 2)
    ;; Used only for the text of a refusal, which is never read: a fixed address is enough.
    (func (export "realloc") (param i32 i32 i32 i32) (result i32) i32.const 1024))
  (core instance $memory (instantiate $memory-module))
  (core func $start-response-call (canon lower
    (func $gateway "[method]start-response.call")
    (memory (core memory $memory "memory")) (realloc (core func $memory "realloc"))))

  (core module $main-module
    (import "memory" "memory" (memory 2))
    (import "gateway" "start-response-call" (func $start-response-call
      (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
    (data (i32.const 16) "200 OK")
    (data (i32.const 32) "Content-Type")
    (data (i32.const 48) "text/plain")
    ;; The only field: the addresses and lengths of its name and value.
    (data (i32.const 64) "\20\00\00\00\0c\00\00\00\30\00\00\00\0a\00\00\00")
    (data (i32.const 65536) "{{page}}")
    (func (export "call") (param $environ i32) (param $start-response i32) (result i32)
      (call $start-response-call (local.get $start-response)
        (i32.const 16) (i32.const 6)
        (i32.const 64) (i32.const 1)
        (i32.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
        (i32.const 96))
      ;; ok(block(page)), at 128: no exception, the first case of `body`, the list.
      (i32.store (i32.const 128) (i32.const 0))
      (i32.store (i32.const 132) (i32.const 0))
      (i32.store (i32.const 136) (i32.const 65536))
      (i32.store (i32.const 140) (i32.const {{length}}))
      (i32.const 128))
    ;; This handler never returns a body in blocks.
    (func (export "next") (param i32) (result i32) unreachable)
    (func (export "close") (param i32) (result i32) unreachable))
  (core instance $main (instantiate $main-module
    (with "memory" (instance $memory))
    (with "gateway" (instance (export "start-response-call" (func $start-response-call))))))

  (type $blocks (resource (rep i32)))
  (type $body (variant (case "block" (list u8)) (case "blocks" (own $blocks))))
  (func $call
    (param "environ" (own $environ)) (param "start-response" (own $start-response))
    (result (result $body (error $exception)))
    (canon lift (core func $main "call") (memory (core memory $memory "memory"))))
  (func $next (param "self" (borrow $blocks))
    (result (result (option (list u8)) (error $exception)))
    (canon lift (core func $main "next") (memory (core memory $memory "memory"))))
  (func $close (param "self" (borrow $blocks)) (result (result (error $exception)))
    (canon lift (core func $main "close") (memory (core memory $memory "memory"))))

  ;; The exported interface as a separate component, which is the only way to name its types.
  (component $application-component
    (import "environ" (type $environ (sub resource)))
    (import "start-response" (type $start-response (sub resource)))
    (type $exception-record (record
      (field "kind" string) (field "message" string) (field "traceback" string)))
    (import "exception" (type $exception (eq $exception-record)))
    (import "blocks" (type $blocks (sub resource)))
    (type $body-variant (variant (case "block" (list u8)) (case "blocks" (own $blocks))))
    (import "body" (type $body (eq $body-variant)))
    (import "next" (func $next (param "self" (borrow $blocks))
      (result (result (option (list u8)) (error $exception)))))
    (import "close" (func $close (param "self" (borrow $blocks))
      (result (result (error $exception)))))
    (import "call" (func $call
      (param "environ" (own $environ)) (param "start-response" (own $start-response))
      (result (result $body (error $exception)))))
    (export $exported-exception "exception" (type $exception))
    (export $exported-blocks "blocks" (type $blocks))
    (type $exported-body-variant
      (variant (case "block" (list u8)) (case "blocks" (own $exported-blocks))))
    (export $exported-body "body" (type $exported-body-variant))
    (export "[method]blocks.next" (func $next)
      (func (param "self" (borrow $exported-blocks))
        (result (result (option (list u8)) (error $exported-exception)))))
    (export "[method]blocks.close" (func $close)
      (func (param "self" (borrow $exported-blocks))
        (result (result (error $exported-exception)))))
    (export "call" (func $call)
      (func (param "environ" (own $environ)) (param "start-response" (own $start-response))
        (result (result $exported-body (error $exported-exception))))))
  (instance $application (instantiate $application-component
    (with "environ" (type $environ))
    (with "start-response" (type $start-response))
    (with "exception" (type $exception))
    (with "blocks" (type $blocks))
    (with "body" (type $body))
    (with "next" (func $next))
    (with "close" (func $close))
    (with "call" (func $call))))
  (export "wasgi:gateway/application@0.1.0" (instance $application)))
