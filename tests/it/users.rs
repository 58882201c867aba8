//! Several users on one log, and malicious users.

use crate::support::{Dir, Job, Worker, check, eventually};
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::Path;

const ANNA: u32 = 61001;
const BERT: u32 = 61002;
const GROUP: u32 = 61000;

fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: only root can be other users");
    }
    is_root
}

/// A directory with this mode and owner.
fn dir(mode: u32, uid: u32, gid: u32) -> Dir {
    let dir = Dir::new();
    chown(dir.path(), Some(uid), Some(gid)).unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(mode)).unwrap();
    dir
}

/// A directory like `/tmp`.
fn open_to_all() -> Dir {
    dir(0o1777, 0, 0)
}

fn of_user(job: Job, uid: u32) -> Job {
    job.with("uid", uid).with("gid", GROUP)
}

#[test]
fn users_of_one_group_share_a_log_whatever_their_umasks() {
    const COUNT: usize = 1500;
    const USERS: [u32; 4] = [ANNA, BERT, ANNA, BERT];
    if !is_root() {
        return;
    }
    for (umasks, numbered) in
        [(["077", "077"], false), (["000", "000"], true), (["077", "000"], false)]
    {
        // The setgid bit gives all files to the group.
        let dir = dir(0o2770, ANNA, GROUP);
        let job = Job::new("write", &dir.log()).with("count", COUNT).with("max_size", 5000);
        let job = job.with("mode", "660").with("gzip", 1);
        let job = if numbered { job.with("numbered", 1) } else { job };
        let start = |id: usize| {
            let job = job.clone().with("worker", id).with("umask", umasks[id % 2]);
            of_user(job, USERS[id]).spawn()
        };
        let mut workers: Vec<_> = (0..USERS.len()).map(start).collect();
        workers.iter_mut().for_each(|worker| worker.expect("ready"));
        workers.iter_mut().for_each(|worker| worker.tell("go"));
        workers.into_iter().for_each(Worker::finish);
        let expected: BTreeMap<_, _> = (0..USERS.len()).map(|id| (id, COUNT)).collect();
        let verdict = check(&dir.all_lines(), &expected);
        assert!(verdict.is_clean() && verdict.extra == 0, "{umasks:?}: {verdict}");
        for name in dir.names() {
            let meta = std::fs::metadata(dir.file(&name)).unwrap();
            assert_eq!((meta.mode() & 0o777, meta.gid()), (0o660, GROUP), "{umasks:?}: {name}");
        }
    }
}

#[test]
fn privileged_worker_maintains_the_files_of_other_users() {
    if !is_root() {
        return;
    }
    let dir = dir(0o2770, ANNA, GROUP);
    let job = Job::new("obey", &dir.log()).with("mode", "660").with("inline", 1);
    let mut anna = of_user(job.clone(), ANNA).spawn();
    anna.expect("ready");
    anna.write("anna's");
    assert_eq!(anna.ask("rotate"), "ok");
    anna.finish();
    let temporary = dir.file(".app.log.abcdefghijkl.tmp");
    std::fs::write(&temporary, "").unwrap();
    chown(&temporary, Some(ANNA), Some(GROUP)).unwrap();
    std::fs::set_permissions(&temporary, PermissionsExt::from_mode(0o660)).unwrap();
    let job = of_user(job.with("gzip", 1).with("max_backups", 1), BERT);
    let mut bert = job.spawn();
    bert.expect("ready");
    eventually("it is compressed", || {
        bert.ask("close");
        dir.backups().iter().all(|name| name.ends_with(".gz"))
    });
    assert_eq!(dir.lines_of(&dir.backups()[0]), ["anna's"]);
    bert.finish();
    let mut bert = job.spawn();
    bert.expect("ready");
    bert.write("bert's");
    assert_eq!(bert.ask("rotate"), "ok");
    assert_eq!(bert.ask("close"), "ok");
    let backups = dir.backups();
    assert_eq!((backups.len(), dir.names().len()), (1, 2), "{:?}", dir.names());
    assert_eq!(dir.lines_of(&backups[0]), ["bert's"]);
}

/// A file of Anna that must not change.
struct Precious(Dir);

impl Precious {
    fn new() -> Self {
        let dir = dir(0o755, ANNA, GROUP);
        std::fs::write(dir.file("precious"), "precious\n").unwrap();
        chown(dir.file("precious"), Some(ANNA), Some(GROUP)).unwrap();
        std::fs::set_permissions(dir.file("precious"), PermissionsExt::from_mode(0o604)).unwrap();
        Self(dir)
    }

    /// Creates a link of Bert at `link` that leads to it, or to a missing file beside it.
    fn plant(&self, target: &str, link: &Path) {
        symlink(self.0.file(target), link).unwrap();
        lchown(link, Some(BERT), Some(BERT)).unwrap();
    }

    fn check(&self) {
        assert_eq!(self.0.names(), ["precious"]);
        assert_eq!(self.0.read("precious"), b"precious\n");
        let meta = std::fs::metadata(self.0.file("precious")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.uid(), meta.gid()), (0o604, ANNA, GROUP));
    }
}

/// Anna writes, and rotates if possible, while Bert's file or link is in her way. Also returns the
/// results of the rotations.
fn anna_goes_on(shared: &Dir, numbered: bool) -> (Worker, Vec<String>) {
    let job = Job::new("obey", &shared.log()).with("inline", 1).with("gzip", 1);
    let job = job.with("mode", "640").with("max_backups", 1).with("lock_ms", 50);
    let job = if numbered { job.with("numbered", 1) } else { job };
    let mut anna = of_user(job, ANNA).spawn();
    anna.expect("ready");
    let mut rotated = Vec::new();
    for seq in 0..3 {
        anna.write(&seq.to_string());
        rotated.push(anna.ask("rotate"));
    }
    anna.write("last");
    (anna, rotated)
}

#[test]
fn planted_links_at_names_of_the_log_are_not_followed() {
    if !is_root() {
        return;
    }
    let names = [
        "app.log.lock",
        ".app.log.abcdefghijkl.tmp",
        "app.log.1",
        "app.log.2.gz",
        "app.log.2020-01-01T00-00-00.000000Z",
        "app.log.2020-01-01T00-00-00.000000Z.gz",
    ];
    for (name, numbered) in names.into_iter().flat_map(|name| [(name, false), (name, true)]) {
        for target in ["precious", "missing"] {
            let (precious, shared) = (Precious::new(), open_to_all());
            std::fs::write(shared.log(), "").unwrap();
            chown(shared.log(), Some(ANNA), Some(GROUP)).unwrap();
            precious.plant(target, &shared.file(name));
            let (mut anna, rotated) = anna_goes_on(&shared, numbered);
            precious.check();
            assert!(shared.file(name).is_symlink(), "{name}: {:?}", shared.names());
            if name == "app.log.lock" {
                let is_refused = |answer: &String| answer.contains("it is a symbolic link");
                assert!(rotated.iter().all(is_refused), "{rotated:?}");
            }
            assert_eq!(shared.active_lines().last().map(String::as_str), Some("last"), "{name}");
            // Once the link is gone, rotation works again.
            std::fs::remove_file(shared.file(name)).unwrap();
            eventually("she rotates", || anna.ask("rotate") == "ok");
            anna.finish();
            precious.check();
        }
    }
}

#[test]
fn file_of_another_user_at_the_lock_path_is_not_touched() {
    if !is_root() {
        return;
    }
    for (content, is_hard_link) in [("bert's own\n", false), ("", false), ("precious\n", true)] {
        let (precious, shared) = (Precious::new(), open_to_all());
        let lock = shared.file("app.log.lock");
        std::fs::write(shared.log(), "").unwrap();
        chown(shared.log(), Some(ANNA), Some(GROUP)).unwrap();
        if is_hard_link {
            std::fs::hard_link(precious.0.file("precious"), &lock).unwrap();
        } else {
            std::fs::write(&lock, content).unwrap();
            chown(&lock, Some(BERT), Some(BERT)).unwrap();
            std::fs::set_permissions(&lock, PermissionsExt::from_mode(0o600)).unwrap();
        }
        let (anna, _) = anna_goes_on(&shared, false);
        assert_eq!(std::fs::read_to_string(&lock).unwrap(), content);
        assert_eq!(shared.active_lines().last().map(String::as_str), Some("last"));
        anna.finish();
        precious.check();
    }
}

// A link at the log's path was followed step by step, which bypassed the kernel's protection
// against links planted in `/tmp`. Records went to any file of the victim, which was then renamed.
#[test]
fn regression_link_planted_at_the_log_s_path_is_not_followed() {
    if !is_root() {
        return;
    }
    let (precious, shared) = (Precious::new(), open_to_all());
    precious.plant("precious", &shared.log());
    let job = of_user(Job::new("open", &shared.log()), ANNA);
    assert!(refusal(&job).contains("another user has put it"), "{}", refusal(&job));
    precious.check();
    // A link of the user, or of the directory's owner, is intended.
    for uid in [ANNA, 0] {
        lchown(shared.log(), Some(uid), None).unwrap();
        assert_eq!(refusal(&job), "opened");
    }
}

/// The error of opening the log, or the fact that it was opened.
fn refusal(job: &Job) -> String {
    job.spawn().hear().unwrap()
}

#[test]
fn link_planted_over_an_open_log_is_not_followed() {
    if !is_root() {
        return;
    }
    let (precious, shared) = (Precious::new(), open_to_all());
    let job = Job::new("obey", &shared.log()).with("check_ms", 0).with("inline", 1);
    let mut anna = of_user(job, ANNA).spawn();
    anna.expect("ready");
    anna.write("before");
    std::fs::rename(shared.log(), shared.file("kept")).unwrap();
    precious.plant("precious", &shared.log());
    anna.write("after");
    assert!(anna.ask("reopen").starts_with("error"));
    assert!(anna.count("failures") > 0);
    precious.check();
    assert_eq!(shared.lines_of("kept"), ["before", "after"]);
    std::fs::remove_file(shared.log()).unwrap();
    assert_eq!(anna.ask("reopen"), "ok");
    anna.write("again");
    assert_eq!(shared.active_lines(), ["again"]);
}
