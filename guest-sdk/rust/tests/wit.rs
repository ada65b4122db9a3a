//! Checks the SDK's copy of the contract. A published package can't refer to files outside its
//! folder.

const OWN: &str = include_str!("../wit/gateway.wit");
const REPOSITORY: &str = include_str!("../../../wit/gateway.wit");

#[test]
fn the_copy_is_the_contract() {
    assert!(
        OWN == REPOSITORY,
        "copy wit/gateway.wit to guest-sdk/rust/wit/"
    );
}
