//! The folders to which bundles are unpacked.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::bundle::Bundle;
use crate::support::site::Site;

fn version(number: u32) -> Site {
    Site::new().with_page("index.html", format!("page {number}"))
}

#[test]
fn processes_share_the_folder_of_a_bundle() {
    let bundle = Bundle::from_site(&version(1));
    let servers = [bundle.serve(&[]), bundle.serve(&[]), bundle.serve(&[])];
    assert_eq!(bundle.unpacked().len(), 1);
    for server in servers {
        assert_eq!(server.get("/").body, b"page 1");
        assert!(server.stop().status.success());
    }
    let mode = fs::metadata(bundle.cache())
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_folder_that_is_served_is_kept_and_old_ones_are_removed() {
    let bundle = Bundle::from_site(&version(0));
    let server = bundle.serve(&[]);
    let served = bundle.unpacked();
    for number in 1..9 {
        // Not followed: the server reads the file from its own path.
        let other = bundle.at("other.wasgi");
        let next = Bundle::from_site(&version(number));
        fs::copy(next.path(), &other).expect("copied");
        let config = bundle.run(&["config", other.to_str().expect("text")]);
        assert!(config.status.success(), "{}", config.everything());
    }
    let left = bundle.unpacked();
    assert!(left.contains(&served[0]), "{left:?}");
    // The served version, the last version, and three unused ones.
    assert!(left.len() <= 5, "{left:?}");
    assert_eq!(server.get("/").body, b"page 0");
}

#[test]
fn a_folder_with_missing_files_is_unpacked_again() {
    let bundle = Bundle::from_site(&version(1));
    assert!(bundle.run(&["config", bundle.text()]).status.success());
    let page = bundle.unpacked()[0].join("html/index.html");
    for damage in ["remove", "truncate"] {
        match damage {
            "remove" => fs::remove_file(&page).expect("removed"),
            _ => fs::write(&page, "x").expect("written"),
        }
        let server = bundle.serve(&[]);
        assert_eq!(server.get("/").body, b"page 1", "{damage}");
    }
}

#[test]
fn a_cache_that_others_may_write_to_is_refused() {
    let bundle = Bundle::from_site(&version(1));
    let cache = bundle.at("shared");
    fs::create_dir(&cache).expect("made");
    fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).expect("set");
    let file = bundle.at("operator.toml");
    fs::write(&file, "[bundle]\ncache = \"shared\"\n").expect("written");
    let line = bundle.refusal(&["--config", file.to_str().expect("text")]);
    assert!(line.contains("other users may write to it"), "{line}");
    assert!(line.contains("bundle.cache names another folder"), "{line}");
}
