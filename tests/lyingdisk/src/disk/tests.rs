use super::*;

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

/// Writes a file that is durable, name and all.
fn durable(disk: &mut Disk, of: &str, bytes: &[u8]) -> Ino {
    let ino = disk.make(ROOT, name(of), false).unwrap().ino;
    let run = disk.open(ino).unwrap();
    disk.write(ino, run, 0, bytes).unwrap();
    disk.flush(ino, run, false).unwrap();
    disk.flush_names(ROOT).unwrap();
    disk.close(ino, run);
    ino
}

fn cut(disk: &mut Disk) {
    disk.cut_power();
    disk.lose(None);
    disk.power_up();
}

fn read(disk: &mut Disk, of: &str) -> Option<Vec<u8>> {
    let ino = disk.look_up(ROOT, name(of)).ok()?.ino;
    let run = disk.open(ino).unwrap();
    let bytes = disk.read(ino, run, 0, 1000).unwrap();
    disk.close(ino, run);
    Some(bytes)
}

#[test]
fn a_name_lasts_only_where_its_directory_was_flushed() {
    let mut disk = Disk::new(1 << 20);
    durable(&mut disk, "old", b"old");
    let ino = disk.make(ROOT, name("new"), false).unwrap().ino;
    let run = disk.open(ino).unwrap();
    disk.write(ino, run, 0, b"new").unwrap();
    disk.flush(ino, run, false).unwrap();
    cut(&mut disk);
    assert_eq!(read(&mut disk, "new"), None);
    disk.remove(ROOT, name("old"), false).unwrap();
    assert_eq!(read(&mut disk, "old"), None);
    cut(&mut disk);
    assert_eq!(read(&mut disk, "old").unwrap(), b"old", "it was not gone for good");
    durable(&mut disk, "next", b"next");
    disk.rename((ROOT, name("next")), (ROOT, name("old"))).unwrap();
    cut(&mut disk);
    assert_eq!(read(&mut disk, "old").unwrap(), b"old");
    disk.rename((ROOT, name("next")), (ROOT, name("old"))).unwrap();
    disk.flush_names(ROOT).unwrap();
    cut(&mut disk);
    assert_eq!(read(&mut disk, "old").unwrap(), b"next");
    assert_eq!(read(&mut disk, "next"), None);
}

#[test]
fn a_rename_across_directories_is_whole() {
    let mut disk = Disk::new(1 << 20);
    let file = durable(&mut disk, "file", b"bytes");
    let dir = disk.make(ROOT, name("dir"), true).unwrap().ino;
    disk.flush_names(ROOT).unwrap();
    disk.rename((ROOT, name("file")), (dir, name("file"))).unwrap();
    disk.flush_names(dir).unwrap();
    cut(&mut disk);
    assert_eq!(disk.look_up(dir, name("file")).unwrap().ino, file);
    assert_eq!(read(&mut disk, "file"), None);
    // What is older does not bring back a name that was taken away since.
    let second = disk.make(ROOT, name("second"), false).unwrap().ino;
    disk.rename((ROOT, name("second")), (dir, name("second"))).unwrap();
    disk.flush_names(dir).unwrap();
    disk.flush_names(ROOT).unwrap();
    cut(&mut disk);
    assert_eq!(disk.look_up(dir, name("second")).unwrap().ino, second);
    assert_eq!(read(&mut disk, "second"), None);
}

#[test]
fn faults_do_what_they_say() {
    let mut disk = Disk::new(1 << 20);
    let ino = durable(&mut disk, "file", b"old");
    disk.fail_next_flush("other");
    let run = disk.open(ino).unwrap();
    disk.write(ino, run, 0, b"new").unwrap();
    disk.flush(ino, run, false).unwrap();
    disk.fail_next_flush("file");
    disk.write(ino, run, 0, b"bad").unwrap();
    assert_eq!(disk.flush(ino, run, false), Err(Errno::IO));
    assert_eq!(disk.flush(ino, run, false), Ok(Flush::Now));
    assert_eq!(read(&mut disk, "file").unwrap(), b"bad");
    cut(&mut disk);
    assert_eq!(read(&mut disk, "file").unwrap(), b"new");
    assert_eq!(disk.write(ino, run, 0, b"x"), Err(Errno::IO), "opened before the power cut");
    let run = disk.open(ino).unwrap();
    disk.slow_flushes(5);
    assert_eq!(disk.flush(ino, run, false), Ok(Flush::After(5)));
    disk.slow_flushes(0);
    disk.ignore_flushes(true);
    disk.write(ino, run, 0, b"lie").unwrap();
    disk.flush(ino, run, false).unwrap();
    cut(&mut disk);
    assert_eq!(read(&mut disk, "file").unwrap(), b"new");
    disk.rot("/file", 0, 0).unwrap();
    cut(&mut disk);
    assert_eq!(read(&mut disk, "file").unwrap(), b"oew");
}

#[test]
fn a_full_disk_takes_nothing_more_until_there_is_room() {
    let mut disk = Disk::new(10 * BLOCK as u64);
    let ino = durable(&mut disk, "file", b"old");
    let run = disk.open(ino).unwrap();
    let whole = vec![1; 9 * BLOCK];
    assert_eq!(disk.write(ino, run, 0, &whole), Ok(()));
    assert_eq!(disk.write(ino, run, 9 * BLOCK as u64, b"x"), Err(Errno::NOSPC));
    assert_eq!(disk.allocate(ino, run, 20 * BLOCK as u64), Err(Errno::NOSPC));
    assert_eq!(disk.make(ROOT, name("more"), false), Err(Errno::NOSPC));
    assert_eq!(disk.room(), Ok((10 * BLOCK as u64, 0)));
    disk.resize(20 * BLOCK as u64);
    assert_eq!(disk.write(ino, run, 9 * BLOCK as u64, b"x"), Ok(()));
    disk.close(ino, run);
    disk.remove(ROOT, name("file"), false).unwrap();
    disk.flush_names(ROOT).unwrap();
    assert_eq!(disk.room().unwrap().1, 19 * BLOCK as u64);
}

#[test]
fn without_power_nothing_works() {
    let mut disk = Disk::new(1 << 20);
    durable(&mut disk, "file", b"old");
    disk.cut_power();
    assert_eq!(disk.look_up(ROOT, name("file")), Err(Errno::IO));
    assert_eq!(disk.make(ROOT, name("more"), false), Err(Errno::IO));
    assert_eq!(disk.room(), Err(Errno::IO));
    disk.lose(Some(7));
    disk.power_up();
    assert_eq!(read(&mut disk, "file").unwrap(), b"old");
}
