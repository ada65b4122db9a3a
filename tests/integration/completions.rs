//! `wasgi completions` and `wasgi man` say what the command line accepts.

use std::process::Command;

use crate::support::command::run;

#[test]
fn each_shell_gets_a_script_with_all_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ended = run(["completions", shell]);
        assert!(ended.status.success(), "{}", ended.everything());
        let script = ended.stdout.join("\n");
        for word in ["serve", "routes", "max-memory"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        assert!(!script.contains("compile-for-server"), "{shell}: {script}");
    }
}

#[test]
fn bash_completes_a_command_and_a_flag() {
    let script = run(["completions", "bash"]).stdout.join("\n");
    let complete = |words: &str, last: usize| {
        let program = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={last}\n\
             _wasgi wasgi \"${{COMP_WORDS[last]}}\" \"${{COMP_WORDS[last - 1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        )
        .replace("[last]", &format!("[{last}]"))
        .replace("[last - 1]", &format!("[{}]", last - 1));
        let output = Command::new("bash").args(["-c", &program]).output();
        String::from_utf8_lossy(&output.expect("bash runs").stdout).into_owned()
    };
    assert_eq!(complete("wasgi ser", 1), "serve\n");
    assert_eq!(complete("wasgi serve --max-mem", 2), "--max-memory\n");
}

#[test]
fn the_manual_page_has_a_section_for_each_command() {
    let ended = run(["man"]);
    assert!(ended.status.success(), "{}", ended.everything());
    let page = ended.stdout.join("\n");
    assert_eq!(page.matches(".TH ").count(), 1, "one title: {page}");
    for section in [
        ".SH NAME",
        ".SH \"WASGI SERVE\"",
        ".SH \"WASGI TEST\"",
        "max\\-memory",
    ] {
        assert!(page.contains(section), "no {section}");
    }
    assert!(!page.contains("COMPILE"), "a hidden command");
}
