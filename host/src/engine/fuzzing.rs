//! The interface of this module for the fuzz targets. Not for other use: it changes with the
//! implementation.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use wasmtime::component::Component;
use wasmtime::{Module, Store};

use super::call::Call;
use super::call::state::HostState;
use super::call::store::new_store;
use super::clock::meter::Meter;
use super::code_file::CodeFile;
use super::compiled::Compiled;
use super::fuse::{self, Linked};
use super::worlds::gateway::answer::Answer;
use super::worlds::gateway::application::{Application, Blocks};
use super::worlds::pre::Pre;
use super::{Engine, HandlerKind, Program, bulk};
use crate::gateway::{self, Environ, Exchange, Failure, Trace};
use crate::http1::{Limits, RequestHead};
use crate::policy::{Budget, Policy};

/// An application in each form in which it can run: unchanged, with fused core modules, and called
/// directly.
pub struct Forms(Vec<(&'static str, Program)>);

/// A call to an instance.
#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// `application.call`.
    Call,
    /// `blocks.next`, of the most recently returned blocks.
    Next,
    /// `blocks.close`.
    Close,
    /// Drops the handle of the blocks.
    Destroy,
}

impl Forms {
    /// Returns the forms of a component; `None` if it can't run.
    pub fn from_component(engine: &Engine, component: &[u8]) -> Option<Self> {
        let mut forms = Vec::new();
        let wasmtime = &engine.first.engine;
        let plain = Component::new(wasmtime, component).ok()?;
        forms.push(("plain", Compiled::Component(plain)));
        let component = &bulk::component(component).ok()?;
        match fuse::link(component) {
            Ok(Linked::Program(module)) => {
                let module = Module::new(wasmtime, module).expect("a program is valid");
                forms.push(("direct", Compiled::Direct(module)));
            }
            Ok(Linked::Component(_) | Linked::Apart(_)) | Err(_) => {}
        }
        if let Ok(fused) = fuse::members_of_component(component) {
            let fused = Component::new(wasmtime, fused).expect("what is fused is valid");
            forms.push(("fused", Compiled::Component(fused)));
        }
        let programs = forms.into_iter().map(|(name, compiled)| {
            let program = engine
                .program(CodeFile::from_compiled(&compiled).ok()?)
                .ok();
            program.map(|program| (name, program))
        });
        let programs: Option<Vec<_>> = programs.collect();
        programs
            .filter(|programs| programs[0].1.kind() == HandlerKind::Gateway)
            .map(Self)
    }

    /// Returns the number of forms.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Serves some requests in one instance that is reused, and takes some steps in another
    /// instance. Panics if the forms differ.
    pub fn compare(&self, requests: u32, steps: &[Step], body: &[u8]) {
        let mut all = self.0.iter().map(|(name, program)| {
            let served: Vec<_> = (0..requests)
                .map(|_| serve(program, body, requests))
                .collect();
            (name, served, walk(program, steps, body))
        });
        let Some((plain, served, walked)) = all.next() else {
            return;
        };
        for (name, other, other_walked) in all {
            assert_eq!(served, other, "{plain} and {name}");
            assert_eq!(walked, other_walked, "{plain} and {name}: {steps:?}");
        }
    }
}

fn environ() -> Environ {
    let request = b"POST /a/b?c HTTP/1.1\r\nHost: example.org\r\nX-Empty:\r\n\r\n";
    let parsed = RequestHead::parse(request, &Limits::default());
    let (head, _) = parsed.expect("a head").expect("all of it");
    Environ {
        script_name: b"/a".to_vec(),
        path_info: b"/b".to_vec(),
        run_once: false,
        ..Environ::local(Arc::new(head))
    }
}

/// The client's side of a request, with its results so far.
struct Client {
    exchange: Arc<Exchange>,
    trace: Trace,
    received: Vec<String>,
}

impl Client {
    fn new(body: &[u8]) -> Self {
        let trace = Trace::recording();
        let exchange = Arc::new(Exchange::new(true).with_trace(trace.clone()));
        exchange.push_body(|into| into.extend_from_slice(body));
        exchange.end_body(Ok(()));
        Self {
            exchange,
            trace,
            received: Vec::new(),
        }
    }

    /// Takes the output, so that the next block can be sent.
    fn take(&mut self) {
        let output = self.exchange.take_output();
        if let Some(head) = output.head {
            self.received.push(format!("{head:?}"));
        }
        let blocks = output.blocks.into_iter().map(|block| format!("{block:?}"));
        self.received.extend(blocks);
        self.exchange.sent();
    }

    fn run<T>(&mut self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> T {
        let mut context = Context::from_waker(Waker::noop());
        loop {
            match poll(&mut context) {
                Poll::Ready(done) => return done,
                Poll::Pending => self.take(),
            }
        }
    }

    /// Returns the client's results and the trace.
    fn finish(mut self, result: String) -> Vec<String> {
        self.take();
        let steps = self.trace.steps();
        // Only the texts of traps differ.
        self.received.extend(steps.iter().map(|step| match step {
            gateway::Step::Closed(Err(why)) if why.starts_with("trapped") => "trapped".to_owned(),
            step => format!("{step:?}"),
        }));
        self.received.push(result);
        self.received
    }
}

/// Runs one complete request.
fn serve(program: &Program, body: &[u8], reuse: u32) -> Vec<String> {
    let budget = Budget::default();
    let mut client = Client::new(body);
    let policy = Policy::new(budget, reuse);
    let exchange = client.exchange.clone();
    let mut call = Call::new(program, "fuzzed".into(), environ(), exchange, policy);
    let finished = client.run(|context| call.poll(context));
    client.finish(match finished.failure {
        // The function names in a trap of a start function differ as well.
        Some(Failure::Trap(_)) => "trapped".to_owned(),
        Some(Failure::Instantiation(_)) => "no instance".to_owned(),
        failure => format!("{failure:?}"),
    })
}

/// Takes steps in an instance, regardless of their results.
fn walk(program: &Program, steps: &[Step], body: &[u8]) -> Vec<String> {
    let mut client = Client::new(body);
    let Pre::Application(pre) = &program.0.first else {
        return Vec::new();
    };
    let Ok(reservation) = program.0.reserve() else {
        return Vec::new();
    };
    let state = HostState::new(
        "fuzzed".into(),
        environ(),
        client.exchange.clone(),
        Budget::default(),
        Arc::<Meter>::default(),
        None,
        reservation,
    );
    let mut store = new_store(&program.0.first, state);
    let mut work = Box::pin(async move {
        let Ok(application) = pre.instantiate(&mut store).await else {
            return vec!["no instance".to_owned()];
        };
        let mut results = Vec::new();
        let mut blocks = None;
        for step in steps {
            results.push(take(*step, &application, &mut store, &mut blocks).await);
        }
        results
    });
    let results = client.run(|context| work.as_mut().poll(context));
    client.finish(format!("{results:?}"))
}

/// Takes one step. Steps that need blocks have no effect without any.
async fn take(
    step: Step,
    application: &Application,
    store: &mut Store<HostState>,
    blocks: &mut Option<Blocks>,
) -> String {
    let trapped = |_| "trapped".to_owned();
    match (step, *blocks) {
        (Step::Call, _) => match application.call(store).await {
            Ok(Ok(Answer::Block(block))) => format!("{block:?}"),
            Ok(Ok(Answer::Blocks(given))) => {
                // Earlier blocks are leaked.
                *blocks = Some(given);
                "blocks".to_owned()
            }
            Ok(Err(exception)) => format!("{exception:?}"),
            Err(_) => "trapped".to_owned(),
        },
        (_, None) => "no blocks".to_owned(),
        (Step::Next, Some(blocks)) => {
            let next = application.next(store, blocks).await;
            next.map_or_else(trapped, |next| format!("{next:?}"))
        }
        (Step::Close, Some(blocks)) => {
            let closed = application.close(store, blocks).await;
            closed.map_or_else(trapped, |closed| format!("{closed:?}"))
        }
        (Step::Destroy, Some(given)) => {
            *blocks = None;
            let destroyed = application.destroy(store, given).await;
            destroyed.map_or_else(trapped, |()| "destroyed".to_owned())
        }
    }
}

impl fmt::Debug for Forms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, _)| name);
        f.debug_list().entries(names).finish()
    }
}
