//! Reading an archive back as a log.

use crate::archive::{Bucket, archive, config, finished, prune};
use crate::support::{Dir, Job, next_worker};
use logrotor::reader::{DamageKind, LogReader, ReaderBuilder};
use std::time::SystemTime;

fn reader(bucket: &Bucket) -> ReaderBuilder {
    LogReader::builder(format!("{}/app.log", bucket.url()))
}

fn lines(builder: ReaderBuilder) -> Vec<String> {
    builder.open().unwrap().records().map(|line| line.unwrap().into_string_lossy()).collect()
}

/// The lines of the backups, oldest first.
fn written(dir: &Dir) -> Vec<String> {
    dir.backups().iter().flat_map(|name| dir.lines_of(name)).collect()
}

#[test]
fn archive_reads_back_like_the_log_in_either_direction() {
    let (dir, bucket) = (finished(), Bucket::new());
    archive(&dir.log(), &config(&bucket.url())).unwrap();
    let mut expected = written(&dir);
    assert_eq!(lines(reader(&bucket)), expected);
    assert_eq!(lines(reader(&bucket).last(3)), expected[1..]);
    expected.reverse();
    assert_eq!(lines(reader(&bucket).reverse()), expected);
}

#[test]
fn times_choose_objects_by_name_and_read_no_other() {
    let (dir, bucket) = (finished(), Bucket::new());
    archive(&dir.log(), &config(&bucket.url())).unwrap();
    let origin = &bucket.origins()[0];
    let backups = dir.backups();
    // The others cannot be read.
    for name in [&backups[0], &backups[3]] {
        std::fs::write(bucket.object(origin, name), "").unwrap();
        std::fs::remove_file(bucket.object(origin, name)).unwrap();
        std::fs::create_dir(bucket.object(origin, name)).unwrap();
    }
    let time = |name: &str| -> SystemTime {
        let text = name.trim_start_matches("app.log.").trim_end_matches(".gz");
        let parsed = chrono::NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H-%M-%S%.fZ");
        parsed.unwrap().and_utc().into()
    };
    let builder = reader(&bucket).since(time(&backups[1])).until(time(&backups[1]));
    assert_eq!(lines(builder), written(&dir)[1..3]);
}

#[test]
fn origins_are_merged_by_the_times_of_their_segments() {
    let (first, second, bucket) = (Dir::new(), Dir::new(), Bucket::new());
    let mut expected = Vec::new();
    for number in 0..6 {
        let dir = if number % 3 == 1 { &second } else { &first };
        next_worker(&Job::new("obey", &dir.log()), &number.to_string());
        expected.push(number.to_string());
    }
    for dir in [&first, &second] {
        archive(&dir.log(), &config(&bucket.url())).unwrap();
    }
    assert_eq!(lines(reader(&bucket)), expected);
    let mut of_origins: Vec<_> =
        bucket.origins().iter().map(|origin| lines(reader(&bucket).origin(origin)).len()).collect();
    of_origins.sort_unstable();
    assert_eq!(of_origins, [2, 4]);
}

#[test]
fn damaged_object_is_reported_by_its_url_and_skipped() {
    let (dir, bucket) = (finished(), Bucket::new());
    archive(&dir.log(), &config(&bucket.url())).unwrap();
    let (origin, name) = (bucket.origins()[0].clone(), dir.backups()[0].clone());
    let object = bucket.object(&origin, &name);
    let mut content = std::fs::read(&object).unwrap();
    let middle = content.len() / 2;
    content[middle] ^= 1;
    std::fs::write(&object, content).unwrap();
    let mut reader = reader(&bucket).open().unwrap();
    let (mut read, mut damages) = (Vec::new(), Vec::new());
    for record in reader.records() {
        match record {
            Ok(record) => read.push(record.into_string_lossy()),
            Err(damage) => damages.push(damage),
        }
    }
    assert!(read.ends_with(&written(&dir)[1..]), "{read:?}");
    assert!(!damages.is_empty());
    for damage in damages {
        assert_eq!(damage.kind(), DamageKind::Corrupt);
        let url = format!("{}/app.log/{origin}/{name}", bucket.url());
        assert!(damage.to_string().contains(&url), "{damage}");
    }
}

#[test]
fn archive_that_is_not_there_is_an_error() {
    let bucket = Bucket::new();
    assert!(reader(&bucket).open().unwrap_err().to_string().contains("/app.log`"));
    assert!(reader(&bucket).follow().open().is_err());
}

#[test]
fn segments_archived_and_removed_during_the_reading_are_read() {
    let (dir, bucket) = (finished(), Bucket::new());
    let config = config(&bucket.url());
    archive(&dir.log(), &config).unwrap();
    let mut expected = written(&dir);
    let mut reader = LogReader::builder(dir.log()).archive(bucket.url()).open().unwrap();
    let mut records = reader.records();
    let first = records.next().unwrap().unwrap().into_string_lossy();
    for _ in 0..3 {
        expected.push(expected.len().to_string());
        next_worker(&Job::new("obey", &dir.log()), expected.last().unwrap());
        archive(&dir.log(), &config).unwrap();
        prune(&dir.log(), &config).unwrap();
    }
    assert!(dir.backups().len() < 2, "the reader leases one: {:?}", dir.backups());
    let mut read = vec![first];
    read.extend(records.map(|line| line.unwrap().into_string_lossy()));
    assert_eq!(read, expected);
}
