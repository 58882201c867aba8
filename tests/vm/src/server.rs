//! Network file systems: a server and its clients in one virtual machine, over the loopback
//! interface.
//!
//! Needs to be root in a virtual machine of its own, with the kernel's NFS server or Samba.

use crate::kind::Result;
use crate::power::{Loop, Mount, run, text};
use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A network file system.
#[derive(Clone, Copy)]
pub struct Network {
    /// Its name as an argument.
    pub name: &'static str,
    /// The name by which logrotor reports it.
    pub reported_as: &'static str,
    /// The number of processes of one machine that may share a log.
    pub workers: u32,
    /// Whether times of files are whole seconds, the nearest ones.
    pub rounds_times: bool,
    modules: &'static [&'static str],
    /// The type, source and options of a mount.
    mount: [&'static str; 3],
    /// A further option, by which a mount shares nothing with the others.
    alone: &'static str,
    /// Serves the files of a directory. The other directory is for the server's own files.
    start: fn(&Path, &Path) -> Result<()>,
    stop: fn(&Path) -> Result<()>,
}

const CIFS: Network = Network {
    name: "cifs",
    reported_as: "smb3",
    workers: 1,
    rounds_times: true,
    modules: &["modprobe", "--all", "loop", "cifs"],
    mount: [
        "cifs",
        "//127.0.0.1/log",
        "ip=127.0.0.1,vers=3.1.1,hard,username=root,password=logrotor",
    ],
    alone: "nosharesock",
    start: start_samba,
    stop: |own| {
        run(&["smbcontrol", "-s", text(&own.join("smb.conf")), "smbd", "shutdown"]).map(drop)
    },
};

/// All of them.
pub const NETWORKS: [Network; 2] = [
    Network {
        name: "nfs",
        reported_as: "nfs",
        workers: 4,
        rounds_times: false,
        modules: &["modprobe", "--all", "loop", "nfsd", "nfsv4"],
        mount: ["nfs4", "127.0.0.1:/", "vers=4.2,hard"],
        alone: "nosharecache",
        start: start_nfsd,
        stop: |_| run(&["rpc.nfsd", "0"]).and_then(|_| run(&["exportfs", "-ua"])).map(drop),
    },
    CIFS,
];

/// The mount points of the server's directory. The second mount shares nothing with the first, as
/// if it were on another machine.
pub struct Clients {
    /// For all workers but one.
    pub one: PathBuf,
    /// For a worker on another machine.
    pub other: PathBuf,
}

impl Network {
    /// Starts a server whose files are on ext4, calls `work`, and stops it.
    ///
    /// # Errors
    /// Any failure of the setup, and the error of `work`.
    pub fn serve(&self, dir: &Path, work: impl FnOnce(&Clients) -> Result<()>) -> Result<()> {
        let [disk, export, own] = ["disk", "export", "server"].map(|name| dir.join(name));
        let clients = Clients { one: dir.join("one"), other: dir.join("other") };
        run(self.modules)?;
        run(&["ip", "link", "set", "lo", "up"])?;
        File::create(&disk)?.set_len(512 << 20)?;
        run(&["mkfs.ext4", "-q", "-F", text(&disk)])?;
        let disk = Loop::of(&disk)?;
        let _export = Mount::new("ext4", &disk.0, "defaults", &export)?;
        std::fs::create_dir(&own)?;
        (self.start)(&export, &own)?;
        let [kind, source, options] = self.mount;
        let one = Mount::new(kind, source, options, &clients.one)?;
        let other = format!("{options},{}", self.alone);
        let other = Mount::new(kind, source, &other, &clients.other)?;
        let done = work(&clients);
        drop((one, other));
        (self.stop)(&own)?;
        done
    }
}

fn start_nfsd(export: &Path, _: &Path) -> Result<()> {
    run(&["mount", "-t", "nfsd", "nfsd", "/proc/fs/nfsd"])?;
    // The seconds in which a former client may reclaim its locks, while new locks are refused. The
    // minimum.
    for setting in ["nfsv4leasetime", "nfsv4gracetime"] {
        std::fs::write(Path::new("/proc/fs/nfsd").join(setting), "10")?;
    }
    let options = "rw,fsid=0,no_root_squash,insecure,no_subtree_check,sync";
    let what = format!("127.0.0.1:{}", text(export));
    run(&["exportfs", "-o", options, &what])?;
    run(&["rpc.mountd", "--no-nfs-version", "2", "--no-nfs-version", "3"])?;
    run(&["rpc.nfsd", "--no-nfs-version", "3", "--nfs-version", "4", "8"])?;
    Ok(())
}

fn start_samba(export: &Path, own: &Path) -> Result<()> {
    let settings = own.join("smb.conf");
    let content = format!(
        "[global]\nserver role = standalone server\nserver min protocol = SMB3_11\n\
         interfaces = lo\nbind interfaces only = yes\nload printers = no\ndisable spoolss = yes\n\
         log file = {own}/log\nprivate dir = {own}\nstate directory = {own}\n\
         cache directory = {own}\nlock directory = {own}\npid directory = {own}\n\
         ncalrpc dir = {own}/ncalrpc\n\
         [log]\npath = {}\nread only = no\n",
        text(export),
        own = text(own)
    );
    std::fs::write(&settings, content)?;
    let settings = text(&settings);
    let add_user = r#"printf "%s\n" logrotor logrotor | smbpasswd -c "$0" -s -a root"#;
    run(&["sh", "-c", add_user, settings])?;
    run(&["smbd", "--daemon", "--configfile", settings])?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Err(error) = TcpStream::connect("127.0.0.1:445") {
        if Instant::now() > deadline {
            let log = std::fs::read_to_string(own.join("log")).unwrap_or_default();
            return Err(format!("Samba does not listen: {error}\n{log}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}
