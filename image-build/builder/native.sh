#!/bin/sh
# Called by mmdebstrap when the essential packages are unpacked and none is configured yet; $1 is
# the tree for arm64, this machine's own tree is the room of tools, of the same release.
#
# Emulation is what makes a foreign tree slow: the scripts of the packages are shell and Perl, which
# start coreutils thousands of times. So for the time of the installation shell, Perl and coreutils
# are this machine's builds of the same packages, beside libraries in a folder of their own
# (x86_64-linux-gnu). dpkg diversions keep the true files as NAME.arm64; native-end.sh puts them
# back. Nothing that writes the processor's name into a file is replaced: dpkg, ldconfig, systemd.
set -eu
root=$1
diversions=$root/var/lib/dpkg/diversions

divert() { # a path: the true file steps aside now and whenever a package brings it
  if [ -e "$root$1" ]; then mv "$root$1" "$root$1.arm64"; fi
  printf '%s\n%s.arm64\n:\n' "$1" "$1" >> "$diversions"
}

for package in dash bash perl-base coreutils tar sed grep gzip findutils diffutils mawk cpio xz-utils zstd; do
  dpkg -L "$package"
done > /tmp/native.files
echo /usr/bin/dpkg-deb >> /tmp/native.files
sort -u /tmp/native.files | while read -r file; do
  case $file in /usr/bin/*|/usr/sbin/*) ;; *) continue ;; esac
  if [ -L "$file" ] || ! head -c 4 "$file" 2>/dev/null | grep -q ELF; then continue; fi
  divert "$file"
  cp -p "$file" "$root$file"
  ldd "$file" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p' >> /tmp/native.libraries
done
mkdir -p "$root/usr/lib64" "$root/usr/lib/x86_64-linux-gnu"
ln -s usr/lib64 "$root/lib64"
cp -L /usr/lib64/ld-linux-x86-64.so.2 "$root/usr/lib64/"
sort -u /tmp/native.libraries | while read -r file; do
  cp -L "$file" "$root/usr/lib/x86_64-linux-gnu/"
done
cp -a /usr/lib/x86_64-linux-gnu/perl-base "$root/usr/lib/x86_64-linux-gnu/"

# Done once, later, and by this machine: the initial RAM disk and Python's compiled files. Not at
# all: the database of hardware names, which nothing on a kiosk asks.
mkdir -p "$root/usr/lib/python3.13" "$root/usr/bin" "$root/usr/sbin"
for file in /usr/bin/py3compile /usr/bin/systemd-hwdb /usr/sbin/update-initramfs; do
  divert "$file"
  printf '#!/bin/sh\nexit 0\n' > "$root$file"
  chmod 755 "$root$file"
done
divert /usr/lib/python3.13/py_compile.py
: > "$root/usr/lib/python3.13/py_compile.py"
