//! The SDK brings a copy of the contract, as a published package can't reach out of its folder.

const OWN: &str = include_str!("../wit/gateway.wit");
const REPOSITORY: &str = include_str!("../../../wit/gateway.wit");

#[test]
fn the_copy_is_the_contract() {
    assert!(
        OWN == REPOSITORY,
        "copy wit/gateway.wit to guest-sdk/rust/wit/"
    );
}
