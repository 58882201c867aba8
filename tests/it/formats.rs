//! Compressed backups: all damage is found, other programs' files are read, and no wrong size is
//! shown. `docs/formats.md` describes the formats.

use crate::support::Dir;
use logrotor::inspect::Inspection;
use logrotor::reader::{Damage, DamageKind, LogReader, Record};
use logrotor::{Compression, MaintenanceMode, Naming};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

#[cfg(feature = "zstd")]
const COMPRESSIONS: [Compression; 2] = [Compression::Gzip, Compression::Zstd];
#[cfg(not(feature = "zstd"))]
const COMPRESSIONS: [Compression; 1] = [Compression::Gzip];

/// A log of four compressed backups and an active segment, and its lines.
fn log(compression: Compression, naming: Naming) -> (Dir, Vec<String>) {
    let dir = Dir::new();
    // Inline, so that a backup is compressed before the next one takes its number.
    let builder = dir.writer().naming(naming).compression(compression);
    let mut log = builder.maintenance(MaintenanceMode::Inline).build().unwrap();
    let mut lines = Vec::new();
    for segment in 0..5 {
        for number in 0..6 {
            let line =
                format!("segment {segment} line {number} of {:x}", segment * 77_773 + number);
            writeln!(log, "{line}").unwrap();
            lines.push(line);
        }
        if segment < 4 {
            log.rotate().unwrap();
            // Births are compared; not every file system keeps them finely.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    log.close().unwrap();
    (dir, lines)
}

/// The records and reports of one reading, in order.
type Items = Vec<Result<String, Damage>>;

fn items(mut reader: LogReader, most: usize) -> Items {
    let text = |record: Record| record.into_string_lossy();
    reader.records().take(most).map(|item| item.map(text)).collect()
}

const WAYS: [&str; 4] = ["forward", "reverse", "last", "follow"];

/// Reads a log in one of the ways, `last` only half of it.
fn read(log: &Path, way: &str, lines: &[String]) -> Items {
    let builder = LogReader::builder(log);
    match way {
        "forward" => items(builder.open().unwrap(), usize::MAX),
        "reverse" => items(builder.reverse().open().unwrap(), usize::MAX),
        "last" => items(builder.last(lines.len() as u64 / 2).open().unwrap(), usize::MAX),
        _ => {
            let mut reader = builder.follow().open().unwrap();
            let mut items = Items::new();
            for item in reader.records() {
                let item = item.map(Record::into_string_lossy);
                let is_last = item.as_ref().ok() == lines.last();
                items.push(item);
                if is_last {
                    break;
                }
            }
            items
        }
    }
}

/// Whether every line before the first report is sound, and there is a report unless all lines
/// came. The line in which a file is cut off comes in part, right before the report.
fn is_told(items: &Items, lines: &[String], way: &str) -> bool {
    let reported = items.iter().position(Result::is_err);
    let before = &items[..reported.unwrap_or(items.len())];
    let is_sound = |at: usize, line: &String| {
        let is_cut = reported == Some(at + 1) && lines.iter().any(|whole| whole.starts_with(line));
        lines.contains(line) || is_cut
    };
    let all_sound =
        before.iter().enumerate().all(|(at, line)| is_sound(at, line.as_ref().unwrap()));
    let wanted = if way == "last" { lines.len() / 2 } else { lines.len() };
    all_sound && (reported.is_some() || before.len() == wanted)
}

/// The path of the second newest backup, which every way of reading passes.
fn target(dir: &Dir) -> PathBuf {
    let backups = dir.backups();
    match backups.iter().find(|name| name.starts_with("app.log.2.")) {
        Some(name) => dir.file(name),
        None => dir.file(&backups[2]),
    }
}

#[test]
fn every_flipped_bit_of_a_backup_is_reported() {
    for (compression, naming) in COMPRESSIONS.into_iter().zip([Naming::Timestamp, Naming::Number]) {
        let (dir, lines) = log(compression, naming);
        let path = target(&dir);
        let whole = std::fs::read(&path).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        for way in WAYS {
            // The two that take longest have a sample.
            let step = match way {
                "follow" => 13,
                "last" => 5,
                _ => 1,
            };
            for bit in (0..whole.len() * 8).step_by(step) {
                let mut flipped = whole.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                std::fs::write(&path, flipped).unwrap();
                std::fs::File::options()
                    .append(true)
                    .open(&path)
                    .unwrap()
                    .set_modified(modified)
                    .unwrap();
                let items = read(&dir.log(), way, &lines);
                let is_reported = items
                    .iter()
                    .any(|item| item.as_ref().is_err_and(|it| it.kind() == DamageKind::Corrupt));
                assert!(is_reported, "{compression:?} {way}, bit {bit}: unseen");
                assert!(
                    is_told(&items, &lines, way),
                    "{compression:?} {way}, bit {bit}: {items:?}"
                );
            }
        }
    }
}

#[test]
fn altered_backup_is_reported_once_up_to_where_it_can_be_read() {
    for compression in COMPRESSIONS {
        let (dir, lines) = log(compression, Naming::Timestamp);
        let path = target(&dir);
        let mut file = std::fs::read(&path).unwrap();
        let content = lines.iter().filter(|line| line.starts_with("segment 2 "));
        let len: usize = content.map(|line| line.len() + 1).sum();
        // In the checksum at the end of the content, which is all read before.
        let at = if compression == Compression::Gzip { file.len() - 8 } else { file.len() - 51 };
        file[at] ^= 1;
        std::fs::write(&path, file).unwrap();
        for way in ["forward", "reverse"] {
            let damages: Vec<_> =
                read(&dir.log(), way, &lines).into_iter().filter_map(Result::err).collect();
            let [damage] = &damages[..] else { panic!("{compression:?} {way}: {damages:?}") };
            assert_eq!(damage.kind(), DamageKind::Corrupt);
            // Zstandard checks before it hands out the last block, which is all of it here.
            let offset = if compression == Compression::Gzip { len } else { 0 };
            assert_eq!(damage.offset(), offset as u64, "{compression:?} {way}: {damage}");
        }
    }
}

#[test]
fn every_truncation_of_a_backup_is_reported() {
    for (compression, naming) in COMPRESSIONS.into_iter().zip([Naming::Number, Naming::Timestamp]) {
        let (dir, lines) = log(compression, naming);
        let path = target(&dir);
        let whole = std::fs::read(&path).unwrap();
        for way in WAYS {
            for len in 0..whole.len() {
                std::fs::write(&path, &whole[..len]).unwrap();
                let items = read(&dir.log(), way, &lines);
                assert!(
                    is_told(&items, &lines, way),
                    "{compression:?} {way}, {len} bytes: {items:?}"
                );
                assert!(items.iter().any(Result::is_err), "{compression:?} {way}, {len}: unseen");
            }
        }
    }
}

#[test]
fn exchanged_backups_are_reported() {
    for compression in COMPRESSIONS {
        for naming in [Naming::Timestamp, Naming::Number] {
            let (dir, lines) = log(compression, naming);
            let sound = read(&dir.log(), "forward", &lines);
            if naming == Naming::Number && created(&dir).contains(&None) {
                println!("skipped: no birth times on this file system");
                continue;
            }
            assert!(sound.iter().all(Result::is_ok), "{sound:?}");
            let backups = dir.backups();
            let exchange = |one: &str, other: &str| {
                std::fs::rename(dir.file(one), dir.file("aside")).unwrap();
                std::fs::rename(dir.file(other), dir.file(one)).unwrap();
                std::fs::rename(dir.file("aside"), dir.file(other)).unwrap();
            };
            for (at, one) in backups.iter().enumerate() {
                for other in &backups[at + 1..] {
                    exchange(one, other);
                    for way in ["forward", "reverse", "follow"] {
                        let items = read(&dir.log(), way, &lines);
                        let kinds: Vec<_> = items
                            .iter()
                            .filter_map(|item| Some(item.as_ref().err()?.kind()))
                            .collect();
                        assert!(
                            kinds.contains(&DamageKind::Misplaced),
                            "{one} and {other}, {way}: {kinds:?}"
                        );
                        assert_eq!(items.len() - kinds.len(), lines.len());
                    }
                    exchange(one, other);
                }
            }
        }
    }
}

fn created(dir: &Dir) -> Vec<Option<SystemTime>> {
    let seen = Inspection::of(dir.log()).unwrap();
    seen.segments.iter().map(|segment| segment.created).collect()
}

/// A log whose one backup is `bytes`; what is read of it, and the size that is shown.
fn backup(name: &str, bytes: &[u8], memory: Option<u64>) -> (Items, Option<u64>) {
    let dir = Dir::new();
    std::fs::write(dir.log(), "active\n").unwrap();
    std::fs::write(dir.file(name), bytes).unwrap();
    let builder = LogReader::builder(dir.log());
    let builder = memory.into_iter().fold(builder, logrotor::reader::ReaderBuilder::memory_limit);
    let mut items = items(builder.open().unwrap(), usize::MAX);
    let last = items.pop().map(Result::unwrap);
    assert_eq!(last.as_deref(), Some("active"));
    (items, Inspection::of(dir.log()).unwrap().segments[0].uncompressed_bytes)
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn lines_of(items: Items) -> Vec<String> {
    items.into_iter().map(Result::unwrap).collect()
}

fn only_damage(items: Items) -> Damage {
    let [Err(damage)] = <[_; 1]>::try_from(items).unwrap() else { panic!("no damage") };
    damage
}

#[test]
fn gzip_of_many_members_is_one_backup() {
    // As bgzip makes them, with a subfield of its own, and an empty member at the end.
    let block = |content: &[u8]| {
        let builder = flate2::GzBuilder::new().extra(b"BC\x02\0\x1b\0".to_vec());
        let mut encoder = builder.write(Vec::new(), flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    };
    let file = [block(b"one\ntw"), gzip(b"o\n"), block(b"three\n"), block(b"")].concat();
    let (items, size) = backup("app.log.1.gz", &file, None);
    assert_eq!(
        (lines_of(items), size),
        (["one", "two", "three"].map(String::from).to_vec(), Some(14))
    );
}

#[test]
fn zero_bytes_after_gzip_are_padding() {
    for padding in [1, 511, 200_000] {
        let file = [gzip(b"one\n"), vec![0; padding]].concat();
        let (items, size) = backup("app.log.1.gz", &file, None);
        assert_eq!((lines_of(items), size), (vec!["one".to_owned()], Some(4)), "{padding}");
    }
    for rest in [&b"\0\0garbage"[..], b"garbage", b"\x1f\x8b"] {
        let (items, size) = backup("app.log.1.gz", &[gzip(b"one\n"), rest.to_vec()].concat(), None);
        assert_eq!(items[1].as_ref().unwrap_err().kind(), DamageKind::Corrupt);
        assert_eq!(size, None);
    }
}

#[test]
fn other_format_is_named_and_no_damage() {
    for (name, start, format) in [
        ("app.log.1.gz", &b"\xFD7zXZ\0\0\x04"[..], "it is xz, not gzip"),
        ("app.log.1.zst", b"BZh91AY&SY", "it is bzip2, not Zstandard"),
        ("app.log.1.gz", b"\x28\xb5\x2f\xfd\0\0", "it is Zstandard, not gzip"),
        ("app.log.1.zst", b"\x1f\x8b\x08\0", "it is gzip, not Zstandard"),
    ] {
        let (items, size) = backup(name, start, None);
        let damage = only_damage(items);
        assert_eq!((damage.kind(), size), (DamageKind::Unreadable, None));
        assert!(damage.to_string().ends_with(format), "{damage}");
    }
}

/// A frame with a window of 2 to the power of `log`, and perhaps a dictionary.
#[cfg(feature = "zstd")]
fn frame(log: u8, dictionary: &[u8], content: &[u8]) -> Vec<u8> {
    let magic = 0xFD2F_B528_u32.to_le_bytes();
    let block = (u32::try_from(content.len()).unwrap() << 3 | 1).to_le_bytes();
    let header = [u8::try_from(dictionary.len()).unwrap(), (log - 10) << 3];
    [&magic, &header[..], dictionary, &block[..3], content].concat()
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_window_is_bounded_by_the_memory_limit() {
    const MIB: u64 = 1 << 20;
    let (items, _) = backup("app.log.1.zst", &frame(27, b"", b"one\n"), None);
    assert_eq!(lines_of(items), ["one"]);
    let large = frame(31, b"", b"one\n");
    let (items, size) = backup("app.log.1.zst", &large, None);
    let damage = only_damage(items);
    assert_eq!((damage.kind(), size), (DamageKind::Unreadable, None));
    let text = "it needs a window of 2 GiB, and the memory limit is 128 MiB";
    assert!(damage.to_string().ends_with(text), "{damage}");
    let (items, _) = backup("app.log.1.zst", &large, Some(2048 * MIB));
    assert_eq!(lines_of(items), ["one"]);
    // In a later frame, where only the decoder sees it.
    let (items, _) = backup("app.log.1.zst", &[frame(10, b"", b"one\n"), large].concat(), None);
    assert_eq!(items[1].as_ref().unwrap_err().kind(), DamageKind::Unreadable);
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_dictionary_is_named_and_no_damage() {
    let (items, size) = backup("app.log.1.zst", &frame(20, &[7], b"one\n"), None);
    let damage = only_damage(items);
    assert_eq!((damage.kind(), size), (DamageKind::Unreadable, None));
    assert!(damage.to_string().ends_with("compressed with a dictionary (number 7)"), "{damage}");
    // In a later frame, where only the decoder sees it.
    let file = [frame(20, b"", b"one\n"), frame(20, &[7], b"two\n")].concat();
    let (mut items, size) = backup("app.log.1.zst", &file, None);
    let damage = only_damage(items.split_off(1));
    assert_eq!((damage.kind(), size), (DamageKind::Unreadable, None));
    assert!(damage.to_string().ends_with("compressed with a dictionary"), "{damage}");
}

/// One look at a log decompresses at most 64 MiB: four of these files.
#[cfg(feature = "zstd")]
#[test]
fn sizes_beyond_the_budget_of_a_look_are_unknown() {
    const BLOCK: u32 = 128 * 1024;
    const MIB_16: u64 = 128 * BLOCK as u64;
    // Blocks of one byte that is repeated.
    let block = |is_last: bool| {
        let header = BLOCK << 3 | 0b10 | u32::from(is_last);
        [&header.to_le_bytes()[..3], b"x"].concat()
    };
    let file = [frame(20, b"", b"")[..6].to_vec(), block(false).repeat(127), block(true)].concat();
    let dir = Dir::new();
    std::fs::write(dir.log(), "active\n").unwrap();
    for number in 1..=5 {
        std::fs::write(dir.file(&format!("app.log.{number}.zst")), &file).unwrap();
    }
    let seen = Inspection::of(dir.log()).unwrap();
    let sizes: Vec<_> = seen.segments.iter().map(|segment| segment.uncompressed_bytes).collect();
    let known = sizes.iter().filter(|size| **size == Some(MIB_16)).count();
    let unknown = sizes.iter().filter(|size| size.is_none()).count();
    assert_eq!((known, unknown, sizes.len()), (4, 1, 6), "{sizes:?}");
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_of_many_frames_is_one_backup() {
    // As pzstd makes them: before each frame, its length in a skippable one.
    let skippable = |len: u32| {
        let parts = [0x184D_2A50_u32, 4, len];
        parts.map(u32::to_le_bytes).concat()
    };
    let (one, two) = (frame(17, b"", b"one\ntw"), frame(17, b"", b"o\n"));
    let file = [&skippable(9)[..], &one, &skippable(9), &two].concat();
    let (items, size) = backup("app.log.1.zst", &file, None);
    assert_eq!((lines_of(items), size), (["one", "two"].map(String::from).to_vec(), Some(8)));
}

#[cfg(feature = "zstd")]
#[test]
fn zstd_backup_has_content_size_and_checksum() {
    const CHECKSUM: u8 = 0b100;
    let (dir, _) = log(Compression::Zstd, Naming::Number);
    let file = std::fs::read(target(&dir)).unwrap();
    let content = zstd::decode_all(&file[..]).unwrap();
    let size = zstd::zstd_safe::get_frame_content_size(&file).unwrap();
    assert_eq!((size, file[4] & CHECKSUM), (Some(content.len() as u64), CHECKSUM));
}

/// Without its tag, where another program's frame follows, nothing is missing.
#[cfg(feature = "zstd")]
#[test]
fn frame_after_a_zstd_backup_is_sound() {
    let (dir, lines) = log(Compression::Zstd, Naming::Number);
    let path = target(&dir);
    let whole = std::fs::read(&path).unwrap();
    let other = zstd::encode_all(&b"another\n"[..], 1).unwrap();
    std::fs::write(&path, [whole, other].concat()).unwrap();
    let items = read(&dir.log(), "forward", &lines);
    assert_eq!(lines_of(items).len(), lines.len() + 1);
}

#[test]
fn no_wrong_size_is_shown() {
    for compression in COMPRESSIONS {
        let (dir, _) = log(compression, Naming::Number);
        let path = target(&dir);
        let whole = std::fs::read(&path).unwrap();
        let size = || {
            let seen = Inspection::of(dir.log()).unwrap();
            let segment = seen
                .segments
                .iter()
                .find(|segment| segment.path.ends_with(path.file_name().unwrap()));
            segment.unwrap().uncompressed_bytes
        };
        let right = size();
        assert!(right.is_some_and(|size| size > 100), "{right:?}");
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, flipped).unwrap();
            assert!(size().is_none_or(|size| Some(size) == right), "{compression:?}, bit {bit}");
        }
        for len in 0..whole.len() {
            std::fs::write(&path, &whole[..len]).unwrap();
            assert!(size().is_none_or(|size| Some(size) == right), "{compression:?}, {len} bytes");
        }
    }
    // A trailer modulo 4 GiB, of a file that cannot be counted cheaply.
    let mut noise = 1_u32;
    let noise = std::iter::repeat_with(|| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        noise.to_be_bytes()[0]
    });
    let file = gzip(&noise.take(400_000).collect::<Vec<_>>());
    assert_eq!(backup("app.log.1.gz", &file, None).1, None);
}

const NAMINGS: [Naming; 3] = [Naming::Timestamp, Naming::TimestampInfix, Naming::Number];

/// The script reads a log; `None`, with the reason printed, where it cannot be run.
#[cfg(unix)]
fn script(log: &Path) -> Option<std::process::Output> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/read_log.py");
    if !script.exists() {
        println!("skipped: the package does not include docs/read_log.py");
        return None;
    }
    let output = std::process::Command::new("python3").arg(script).arg(log).output();
    output.inspect_err(|error| println!("skipped: python3: {error}")).ok()
}

#[cfg(unix)]
#[test]
fn sixty_lines_of_python_read_a_log() {
    let compressions = COMPRESSIONS.into_iter().chain([Compression::None]);
    for (compression, naming) in compressions.flat_map(|c| NAMINGS.map(|n| (c, n))) {
        let (dir, lines) = log(compression, naming);
        let Some(output) = script(&dir.log()) else { return };
        let (text, said) = (String::from_utf8(output.stdout), String::from_utf8(output.stderr));
        let (text, said) = (text.unwrap(), said.unwrap());
        if compression == Compression::Zstd && said.contains("No module named 'compression'") {
            println!("Python before 3.14 does not decompress Zstandard");
            assert_eq!(text.lines().count(), 6);
        } else {
            assert_eq!(
                (text.lines().collect::<Vec<_>>(), said.as_str()),
                (lines.iter().map(String::as_str).collect(), "")
            );
        }
        if compression == Compression::None {
            continue;
        }
        let path = target(&dir);
        let whole = std::fs::read(&path).unwrap();
        for part in [0, 1, 5, 8] {
            let mut flipped = whole.clone();
            flipped[part * (whole.len() - 1) / 8] ^= 1 << (part % 8);
            std::fs::write(&path, flipped).unwrap();
            let output = script(&dir.log()).unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap();
            assert!(said.contains(name), "{compression:?}, part {part}: {said}");
            assert_eq!(output.status.code(), Some(1));
        }
    }
}

/// A worker that dies during a rotation leaves them.
#[cfg(unix)]
#[test]
fn python_prints_a_segment_with_two_names_once() {
    const TIME: &str = "9998-01-01T00-00-00.000000Z";
    for (naming, second) in NAMINGS.into_iter().zip([
        format!("app.log.{TIME}"),
        format!("app.{TIME}.log"),
        "app.log.1".to_owned(),
    ]) {
        let (dir, lines) = log(Compression::None, naming);
        if naming == Naming::Number {
            for number in (1..5).rev() {
                let path = |number| dir.file(&format!("app.log.{number}"));
                std::fs::rename(path(number), path(number + 1)).unwrap();
            }
        }
        std::fs::hard_link(dir.log(), dir.file(&second)).unwrap();
        let Some(output) = script(&dir.log()) else { return };
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().collect::<Vec<_>>(), lines, "{second}");
        assert!(output.status.success());
    }
}

/// The bytes that the page gives are those of the files.
#[test]
fn page_of_formats_has_the_bytes_of_our_files() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/formats.md");
    let Ok(page) = std::fs::read_to_string(page) else {
        return println!("skipped: the package does not include docs/formats.md");
    };
    let hex =
        |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ");
    for compression in COMPRESSIONS {
        let (dir, _) = log(compression, Naming::Number);
        let file = std::fs::read(target(&dir)).unwrap();
        let parts = match compression {
            Compression::Gzip => vec![&file[..8], &file[9..12], &file[12..16]],
            _ => vec![&file[file.len() - 50..][..8], &file[file.len() - 42..][..2]],
        };
        for part in parts {
            assert!(page.contains(&format!("`{}`", hex(part))) || page.contains(&hex(part)));
        }
    }
}
