//! seccomp: a thread gives up system calls.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// System calls with the arguments for which a filter applies. An empty list means any arguments.
pub(crate) type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Installs a filter for this thread and those that it starts: `matching` for the system calls of
/// `rules`, `others` for the rest. The process ends if it uses the calls of another processor
/// architecture.
///
/// # Errors
///
/// Fails if the kernel or the processor isn't supported.
pub(crate) fn install(
    rules: Rules,
    others: SeccompAction,
    matching: SeccompAction,
) -> anyhow::Result<()> {
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, others, matching, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter(&program)?;
    Ok(())
}

/// Denies this thread, and those that it starts, system calls that no part of a server uses, and
/// whose implementation in the kernel an attacker could use. They fail with EPERM.
///
/// # Errors
///
/// Fails if the kernel or the processor isn't supported.
pub(crate) fn forbid_unused() -> anyhow::Result<()> {
    let denied = SeccompAction::Errno(libc::EPERM as u32);
    install(unused()?, SeccompAction::Allow, denied)?;
    Ok(seccompiler::apply_filter(&unknown())?)
}

/// System calls that no part of a server uses.
const UNUSED: &[libc::c_long] = &[
    // Other processes.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    // Namespaces and mounts.
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    libc::SYS_fanotify_init,
    libc::SYS_open_by_handle_at,
    // The kernel, its modules and programs.
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_syslog,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_personality,
    // Keys of the kernel.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    // The machine's name and clock.
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    // The user, which is chosen before.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
    libc::SYS_setgroups,
    libc::SYS_capset,
];

/// More of them, which only these processors have.
#[cfg(target_arch = "x86_64")]
const UNUSED_HERE: &[libc::c_long] = &[
    libc::SYS_kexec_file_load,
    libc::SYS_iopl,
    libc::SYS_ioperm,
    libc::SYS_modify_ldt,
];
#[cfg(not(target_arch = "x86_64"))]
const UNUSED_HERE: &[libc::c_long] = &[];

/// The flags of `clone` for a new namespace (clone(2)).
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWNS,
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
];

/// The families of sockets that a server uses: to clients and peers, and netlink, by which the C
/// library finds out the machine's addresses.
const SOCKET_FAMILIES: [libc::c_int; 4] = [
    libc::AF_UNIX,
    libc::AF_INET,
    libc::AF_INET6,
    libc::AF_NETLINK,
];

fn unused() -> anyhow::Result<Rules> {
    let calls = UNUSED.iter().chain(UNUSED_HERE);
    let mut rules: Rules = calls.map(|call| (*call, Vec::new())).collect();
    let condition = |argument, operator, value: libc::c_int| {
        let (length, value) = (SeccompCmpArgLen::Dword, u64::from(value.cast_unsigned()));
        SeccompCondition::new(argument, length, operator, value)
    };
    let mut namespaces = Vec::new();
    for flag in NEW_NAMESPACES {
        let operator = SeccompCmpOp::MaskedEq(u64::from(flag.cast_unsigned()));
        namespaces.push(SeccompRule::new(vec![condition(0, operator, flag)?])?);
    }
    rules.insert(libc::SYS_clone, namespaces);
    let mut families = Vec::new();
    for family in SOCKET_FAMILIES {
        families.push(condition(0, SeccompCmpOp::Ne, family)?);
    }
    rules.insert(libc::SYS_socket, vec![SeccompRule::new(families)?]);
    Ok(rules)
}

/// The first number of the system calls of x32, a second set on x86-64 that the filter by numbers
/// would miss.
#[cfg(target_arch = "x86_64")]
const FIRST_FOREIGN: u32 = 0x4000_0000;
#[cfg(not(target_arch = "x86_64"))]
const FIRST_FOREIGN: u32 = u32::MAX;

/// Returns a filter for system calls that can't be examined, which fail as if the kernel didn't
/// have them: `clone3`, whose flags are in memory, so that the C library uses `clone`, and those of
/// x32.
fn unknown() -> BpfProgram {
    // Instructions of classic BPF, and the number of the call at the beginning of `seccomp_data`
    // (seccomp(2)).
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_GREATER_OR_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    let clone3 = u32::try_from(libc::SYS_clone3).unwrap_or(FIRST_FOREIGN);
    let instruction = |code: u32, jt, jf, k| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    vec![
        instruction(LOAD, 0, 0, 0),
        instruction(IF_GREATER_OR_EQUAL, 2, 0, FIRST_FOREIGN),
        instruction(IF_EQUAL, 1, 0, clone3),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        instruction(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::thread;

    use rustix::io::Errno;
    use rustix::net::{AddressFamily, SocketType, socket};
    use rustix::thread::set_thread_uid;

    use super::*;

    #[test]
    fn unused_system_calls_are_denied_and_the_others_work() {
        let filtered = thread::spawn(|| {
            if let Err(error) = forbid_unused() {
                return println!("not tested: {error:#}");
            }
            let denied = Some(Errno::PERM);
            assert_eq!(rustix::process::chroot("/").err(), denied);
            assert_eq!(set_thread_uid(rustix::process::geteuid()).err(), denied);
            let packet = AddressFamily::PACKET;
            assert_eq!(socket(packet, SocketType::RAW, None).err(), denied);
            for family in [
                AddressFamily::INET,
                AddressFamily::INET6,
                AddressFamily::UNIX,
            ] {
                let opened = socket(family, SocketType::STREAM, None);
                assert_ne!(opened.err(), denied);
            }
            // Threads and processes, which the C library would start by `clone3`.
            assert_eq!(thread::spawn(|| 1).join().expect("a thread"), 1);
            assert!(
                Command::new("/bin/true")
                    .status()
                    .expect("a process")
                    .success()
            );
            // util-linux: a new namespace by `unshare`.
            if let Ok(status) = Command::new("unshare").args(["--user", "true"]).status() {
                assert!(!status.success());
            }
        });
        filtered.join().expect("no panic");
    }
}
