//! Cost of a snapshot of the policy beside an `Arc` that no other thread clones, and of a change
//! and a check of the file.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark fails by panicking")]

use criterion::{Criterion, Throughput};
use logrotor::Config;
use logrotor::atomic::SyncLevel;
use logrotor::policy::{Policy, PolicyStore};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const READERS: usize = 4;

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .sample_size(30)
        .configure_from_args();
    one_reader(&mut criterion);
    four_readers(&mut criterion);
    changes(&mut criterion);
    criterion.final_summary();
    ratio();
}

/// A policy in a directory that goes with it.
fn store(sync: SyncLevel) -> (tempfile::TempDir, PolicyStore<Config>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Config::policy().sync(sync);
    let store = store.open_or_create(dir.path().join("policy.toml"), Config::default).unwrap();
    (dir, store)
}

fn one_reader(criterion: &mut Criterion) {
    let (_dir, store) = store(SyncLevel::None);
    let arc = store.current().into_arc();
    let mut group = criterion.benchmark_group("snapshot, 1 thread");
    group.throughput(Throughput::Elements(1));
    group.bench_function("Arc clone", |bencher| bencher.iter(|| black_box(Arc::clone(&arc))));
    group.bench_function("current()", |bencher| bencher.iter(|| black_box(store.current())));
    group.bench_function("current().into_arc()", |bencher| {
        bencher.iter(|| black_box(store.current().into_arc()));
    });
    group.finish();
}

/// How long `READERS` threads take for `times` reads each, while updates run.
fn with_updates(store: &PolicyStore<Config>, times: u64, read: impl Fn() + Sync) -> Duration {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                store.update(|config| config.max_size += 1).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let start = Instant::now();
        let readers: Vec<_> =
            (0..READERS).map(|_| scope.spawn(|| (0..times).for_each(|_| read()))).collect();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        let taken = start.elapsed();
        over.store(true, Ordering::Relaxed);
        taken
    })
}

/// An `Arc` of each thread's own, cloned and dropped.
fn clone_own() {
    thread_local! {
        static OWN: Arc<[u64; 32]> = Arc::new([0; 32]);
    }
    OWN.with(|own| drop(black_box(Arc::clone(own))));
}

fn four_readers(criterion: &mut Criterion) {
    let (_dir, store) = store(SyncLevel::None);
    let mut group = criterion.benchmark_group("snapshot, 4 threads, while updates run");
    group.throughput(Throughput::Elements(READERS as u64));
    group.bench_function("Arc clone, one of each thread's own", |bencher| {
        bencher.iter_custom(|times| with_updates(&store, times, clone_own));
    });
    group.bench_function("current()", |bencher| {
        bencher
            .iter_custom(|times| with_updates(&store, times, || drop(black_box(store.current()))));
    });
    group.bench_function("current().into_arc()", |bencher| {
        let read = || drop::<Arc<Policy<Config>>>(black_box(store.current().into_arc()));
        bencher.iter_custom(|times| with_updates(&store, times, read));
    });
    group.finish();
}

fn changes(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("policy, 1 process");
    for (name, sync) in
        [("no sync", SyncLevel::None), ("file and directory synced", SyncLevel::FileAndDirectory)]
    {
        let (_dir, store) = store(sync);
        group.bench_function(format!("update, {name}"), |bencher| {
            bencher.iter(|| store.update(|config| config.max_size += 1).unwrap());
        });
    }
    let (_dir, store) = store(SyncLevel::None);
    // Until its time stamp is old enough to be relied upon.
    std::thread::sleep(Duration::from_millis(2100));
    store.reload().unwrap();
    group.bench_function("reload, nothing new", |bencher| {
        bencher.iter(|| assert!(!store.reload().unwrap()));
    });
    group.finish();
}

/// The promise: no reader slower than twice an uncontended `Arc` clone. In turns, so that what else
/// the machine does befalls both.
fn ratio() {
    const TIMES: u64 = 1_000_000;
    let (_dir, store) = store(SyncLevel::None);
    let mut ratios: Vec<_> = (0..15)
        .map(|_| {
            let own = with_updates(&store, TIMES, clone_own);
            let read = with_updates(&store, TIMES, || drop(black_box(store.current())));
            read.as_secs_f64() / own.as_secs_f64()
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    println!(
        "current() / uncontended Arc clone, 4 threads while updates run: {:.2} (median of 15; {:.2} to {:.2})",
        ratios[7], ratios[0], ratios[14]
    );
}
