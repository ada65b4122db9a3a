//! `X-Forwarded-For`, `-Proto`, `-Host`, `-Port`: not standardized, but used by most proxies.
//!
//! Each is a list to which a proxy appends at the right; many proxies replace the last three
//! instead. So if one of these lists is as long as the list of addresses, its entries correspond to
//! the addresses. Of any other list, the rightmost entry is the nearest proxy's.

use super::hop::{HOPS, Hop, Node, node, scheme};
use crate::http1::RequestHead;

/// Returns the proxies' statements, nearest first; at most [`HOPS`].
pub(super) fn hops(head: &RequestHead) -> Vec<Hop> {
    let addresses = list(head, "x-forwarded-for");
    let schemes = list(head, "x-forwarded-proto");
    let hosts = list(head, "x-forwarded-host");
    let ports = list(head, "x-forwarded-port");
    let count = addresses.len();
    // A request without addresses may still have the other fields.
    let mut hops = vec![Hop::default(); count.max(1)];
    for (index, hop) in hops.iter_mut().enumerate() {
        hop.client = Some(addresses.get(index).map_or(Node::Hidden, |text| node(text)));
        hop.scheme = at(&schemes, index, count).and_then(scheme);
        hop.authority = at(&hosts, index, count).map(<[u8]>::to_vec);
        hop.port = at(&ports, index, count).and_then(port);
    }
    hops
}

/// Returns the elements of a list field, from the right; at most [`HOPS`].
fn list<'a>(head: &'a RequestHead, name: &str) -> Vec<&'a [u8]> {
    let mut elements: Vec<&[u8]> = Vec::new();
    for (field, value) in head.fields() {
        if field.eq_ignore_ascii_case(name) {
            elements.extend(value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii));
        }
    }
    elements.reverse();
    elements.truncate(HOPS);
    elements
}

/// Returns the entry of a list for the hop at `index`, of `count`.
fn at<'a>(list: &[&'a [u8]], index: usize, count: usize) -> Option<&'a [u8]> {
    let index = if list.len() == count { index } else { 0 };
    list.get(index).copied()
}

fn port(text: &[u8]) -> Option<u16> {
    let text = str::from_utf8(text).ok()?;
    let is_decimal = text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_decimal)
}
