//! Signals that the standard library does not send.
#![allow(unsafe_code)]

pub(crate) fn pause(pid: u32) {
    send(pid, libc::SIGSTOP);
}

pub(crate) fn resume(pid: u32) {
    send(pid, libc::SIGCONT);
}

pub(crate) fn terminate(pid: u32) {
    send(pid, libc::SIGTERM);
}

pub(crate) fn hang_up(pid: u32) {
    send(pid, libc::SIGHUP);
}

fn send(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).expect("the kernel's pids fit");
    // SAFETY: kill takes two integers and touches no memory of ours. The pid is that of a child that has not been waited
    // for, so it cannot name another process.
    let sent = unsafe { libc::kill(pid, signal) };
    assert_eq!(sent, 0, "a child of ours takes signals");
}
