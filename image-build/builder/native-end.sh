#!/bin/sh
# Called by mmdebstrap when all is installed; $1 is the tree for arm64. Makes the one initial RAM
# disk while shell and coreutils are still this machine's, then puts the true files back.
set -eu
root=$1
kernel=$(ls "$root/usr/lib/modules")

printf 'MODULES=list\nBUSYBOX=y\nCOMPRESS=zstd\nCOMPRESSLEVEL=19\nRESUME=none\nUMASK=0022\nFSTYPE=squashfs\n' \
  > "$root/etc/initramfs-tools/conf.d/kiosk"
cat /job/initramfs-modules.txt > "$root/etc/initramfs-tools/modules"
if [ -d /job/initramfs-tools ]; then cp -r /job/initramfs-tools/. "$root/etc/initramfs-tools/"; fi
chroot "$root" mkinitramfs -o "/boot/initrd.img" "$kernel"

# Only what native.sh moved aside: Debian has diversions of its own, whose files stay.
paste -d ' ' - - - < "$root/var/lib/dpkg/diversions" | while read -r file aside _; do
  if [ "$aside" != "$file.arm64" ]; then continue; fi
  rm -f "$root$file"  # also where no package of the card has it
  if [ -e "$root$file.arm64" ]; then mv "$root$file.arm64" "$root$file"; fi
done
: > "$root/var/lib/dpkg/diversions"
rm -rf "$root/lib64" "$root/usr/lib64" "$root/usr/lib/x86_64-linux-gnu"
