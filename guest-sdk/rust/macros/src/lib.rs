//! The `handler` attribute of `wasgi-sdk`.
//!
//! It only finds the function's name and passes it to a macro of the SDK. There, traits decide
//! which signatures are valid, so that the compiler explains an invalid one.

use proc_macro::{Delimiter, Group, Ident, Punct, Spacing, Span, TokenStream, TokenTree};

/// Makes a function the handler of this component, which the server calls for each request.
///
/// See the documentation of `wasgi-sdk` for the signatures. A package has one handler: a second one
/// does not compile, and the error names `only_one_wasgi_sdk_handler_per_package`.
#[proc_macro_attribute]
pub fn handler(arguments: TokenStream, function: TokenStream) -> TokenStream {
    if let Some(argument) = arguments.into_iter().next() {
        return error("`#[handler]` takes no arguments", argument.span());
    }
    let Some(name) = function_name(function.clone()) else {
        return error("`#[handler]` must be on a function", Span::call_site());
    };
    let mut output = allow_needless_pass_by_value();
    output.extend(function);
    output.extend(call("__export", TokenStream::from(TokenTree::Ident(name))));
    output
}

/// Returns `#[allow(clippy::needless_pass_by_value)]`: a handler can't choose its parameters'
/// types.
fn allow_needless_pass_by_value() -> TokenStream {
    "#[allow(clippy::needless_pass_by_value)]"
        .parse()
        .unwrap_or_default()
}

/// Returns the name after the first `fn` that is not within brackets or braces.
fn function_name(function: TokenStream) -> Option<Ident> {
    let mut tokens = function.into_iter();
    tokens.find(|token| matches!(token, TokenTree::Ident(word) if word.to_string() == "fn"))?;
    match tokens.next() {
        Some(TokenTree::Ident(name)) => Some(name),
        _ => None,
    }
}

/// Returns `::wasgi_sdk::<name>! { <arguments> }`.
fn call(name: &str, arguments: TokenStream) -> TokenStream {
    let mut output = path(&["wasgi_sdk", name]);
    output.extend(bang(arguments, Span::call_site()));
    output
}

/// Returns `::core::compile_error! { "<message>" }`, with the location `span`.
fn error(message: &str, span: Span) -> TokenStream {
    let mut text = TokenTree::Literal(proc_macro::Literal::string(message));
    text.set_span(span);
    let mut output = path(&["core", "compile_error"]);
    output.extend(bang(TokenStream::from(text), span));
    output
}

fn path(segments: &[&str]) -> TokenStream {
    let colons = || {
        [Spacing::Joint, Spacing::Alone].map(|spacing| TokenTree::Punct(Punct::new(':', spacing)))
    };
    segments
        .iter()
        .flat_map(|segment| {
            let word = TokenTree::Ident(Ident::new(segment, Span::call_site()));
            colons().into_iter().chain([word])
        })
        .collect()
}

fn bang(arguments: TokenStream, span: Span) -> [TokenTree; 2] {
    let mut braces = Group::new(Delimiter::Brace, arguments);
    braces.set_span(span);
    [
        TokenTree::Punct(Punct::new('!', Spacing::Alone)),
        TokenTree::Group(braces),
    ]
}
