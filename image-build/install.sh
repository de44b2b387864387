#!/usr/bin/env bash
# Makes a kiosk of a stock 64-bit Raspberry Pi OS Lite: what "By hand" in the README does, in one
# command. The SD card image does not use it; it is for whoever wants the ordinary system below.
#
#   sudo git clone REPOSITORY /opt/kiosk
#   sudo /opt/kiosk/image-build/install.sh [--board NAME] [--dry-run]
#
# Run it again at any time: it goes on where it was interrupted, and does nothing where nothing is
# to be done. It never writes over /etc/kiosk/kiosk.yaml, /etc/kiosk/board.yaml or the journal, and
# never makes a kiosk sell that did not sell before.
#
# Exit codes: 0 done, 1 refused or failed (the last line says why), 2 wrong call.
set -euo pipefail
umask 022
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
# `su` without a dash leaves these out.
PATH=$PATH:/usr/sbin:/sbin

SOURCE=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
PROGRAM=/opt/kiosk
VENV=$PROGRAM/.venv
ETC=/etc/kiosk
UNITS=/etc/systemd/system
CSI_DROP_IN=$UNITS/kiosk-scanner.service.d/csi.conf
# The last three build lgpio where there is no ready package for it.
PACKAGES=(make python3-venv libzbar0 swig gcc python3-dev)
# What of the repository a kiosk needs.
PARTS=(kiosk hardware config image-build .lock Makefile pyproject.toml README.md LICENSE)

# Stands there from the moment a running kiosk is stopped until the new one runs.
MARKER=$PROGRAM/.stopped-to-install

dry_run=no
board=
csi=no
changed=no
placed=no

say() { printf '\n== %s\n' "$*"; }
tell() { printf '   %s\n' "$*"; }
refuse() {
  printf '%s\n' "$*" >&2
  exit 1
}

# Does it, or says what it would do.
act() {
  if [ "$dry_run" = yes ]; then
    printf '   would run: %s\n' "$*"
  else
    "$@"
  fi
}

# shellcheck disable=SC2317  # called by the trap
at_the_end() {
  local code=$?
  if [ -e $MARKER ]; then
    printf '%s\n' "The kiosk was stopped for this and does not sell. Run this again." >&2
  fi
  exit "$code"
}
trap at_the_end EXIT

boards() {
  local file
  for file in "$SOURCE"/config/boards/*.yaml; do
    basename "$file" .yaml
  done
}

usage() {
  cat <<USAGE
sudo image-build/install.sh [--board NAME] [--dry-run]

  --board NAME  wiring and camera, one of: $(boards | paste -sd ' ')
                (without it: by the model of this Raspberry Pi, with a USB camera)
  --dry-run     say what would be done, and do nothing
USAGE
}

read_call() {
  while [ $# -gt 0 ]; do
    case $1 in
      --board)
        board=${2:-}
        case " $(boards | paste -sd ' ') " in
          *" $board "*) shift 2 ;;
          *)
            printf '%s\n' "--board needs one of: $(boards | paste -sd ' ')" >&2
            exit 2
            ;;
        esac
        ;;
      --dry-run)
        dry_run=yes
        shift
        ;;
      -h | --help)
        usage
        exit 0
        ;;
      *)
        usage >&2
        exit 2
        ;;
    esac
  done
}

# --- what this machine is -------------------------------------------------------------------------

check_machine() {
  local id codename architecture
  [ "$(id -u)" = 0 ] || refuse "This changes the system: run it as root, sudo $0"
  [ ! -e /usr/lib/kiosk/version.json ] || refuse "This is the kiosk's SD card image: all is installed."
  architecture=$(dpkg --print-architecture 2>/dev/null || true)
  case $architecture in
    arm64) ;;
    armhf | armel)
      refuse "This is a 32-bit system ($architecture). Flash Raspberry Pi OS Lite (64-bit) and run this there."
      ;;
    *) refuse "This is no 64-bit Raspberry Pi OS (packages are for: ${architecture:-unknown}). Nothing was changed." ;;
  esac
  # shellcheck source=/dev/null
  id=$(. /etc/os-release && printf '%s' "${ID:-}")
  # shellcheck source=/dev/null
  codename=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
  case $id/$codename in
    debian/bookworm) ;;
    # There libzbar0 is a name that another package provides, never one that is installed.
    debian/trixie) PACKAGES=("${PACKAGES[@]/%libzbar0/libzbar0t64}") ;;
    *)
      refuse "This was made for Raspberry Pi OS bookworm or trixie; this is ${id:-unknown} ${codename:-}. Nothing was changed."
      ;;
  esac
}

choose_board() {
  local model
  # It ends in a zero byte.
  model=$(sed 's/\x00//g' /proc/device-tree/model 2>/dev/null || true)
  case $model in
    "Raspberry Pi"*) ;;
    *) refuse "This is no Raspberry Pi (/proc/device-tree/model says: ${model:-nothing}). Nothing was changed." ;;
  esac
  if [ -z "$board" ]; then
    case $model in
      "Raspberry Pi 5"* | "Raspberry Pi Compute Module 5"*) board=pi5-usb-camera ;;
      "Raspberry Pi 3"* | "Raspberry Pi 4"* | "Raspberry Pi Zero 2"*) board=pi-usb-camera ;;
      "Raspberry Pi Compute Module 3"* | "Raspberry Pi Compute Module 4"*) board=pi-usb-camera ;;
      *)
        refuse "There is no board file for a $model. Where its pins are wired the same, name one: --board pi-usb-camera"
        ;;
    esac
  fi
  say "$model, board file: $board"
  if [ -e $ETC/board.yaml ] && ! cmp -s "$SOURCE/config/boards/$board.yaml" $ETC/board.yaml; then
    tell "$ETC/board.yaml is another one, or was changed: it is kept. To have $board instead,"
    tell "delete it and run this again."
  fi
  # What is in force decides; a file that is not there yet becomes the chosen one.
  local in_force=$ETC/board.yaml
  [ -e $in_force ] || in_force=$SOURCE/config/boards/$board.yaml
  if grep -qE '^[[:space:]]+backend:[[:space:]]*"?csi' "$in_force"; then
    csi=yes
    PACKAGES+=(python3-picamera2)
  fi
}

# --- the steps ------------------------------------------------------------------------------------

missing_packages() {
  local package
  for package in "${PACKAGES[@]}"; do
    [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null || true)" = "ii " ] || printf '%s\n' "$package"
  done
}

install_packages() {
  local missing cut
  mapfile -t missing < <(missing_packages)
  if [ ${#missing[@]} = 0 ]; then
    say "System packages: all there"
    return
  fi
  say "System packages: ${missing[*]}"
  # An earlier run may have been interrupted: what was cut while it was unpacked is installed anew.
  mapfile -t cut < <(dpkg-query -W -f '${db:Status-Eflag} ${binary:Package}\n' | sed -n 's/^reinstreq //p')
  act dpkg --configure -a || tell "(${cut[*]} follows)"
  # Error-Mode: without it a missing network is a warning, and the next line the one that fails.
  act apt-get update -qq -o APT::Update::Error-Mode=any ||
    refuse "The package archive cannot be reached. Is there a network, and is the date right ($(date +%F))? Then run this again."
  if [ "$csi" = yes ] && [ "$dry_run" = no ] && ! apt-cache show python3-picamera2 >/dev/null 2>&1; then
    refuse "A camera on the ribbon cable needs python3-picamera2, which only Raspberry Pi OS has. A USB camera does not."
  fi
  act apt-get install -y -qq --no-install-recommends --reinstall "${missing[@]}" "${cut[@]}" ||
    refuse "The packages could not be installed; the lines above say why. Run this again when that is mended."
}

# One line for all that makes the program: its files, the locks, the Python and the camera's kind.
stamp_of() {
  (
    cd "$1"
    find "${PARTS[@]}" -type f ! -path '*/__pycache__/*' ! -path '.lock/venv/*' -print0 |
      sort -z | xargs -0 sha256sum
    python3 --version 2>/dev/null || true
    echo "csi: $csi"
  ) | sha256sum | cut -d ' ' -f 1
}

service_manager_runs() { [ -d /run/systemd/system ]; }

# Also after a power cut in the middle of this: half a program must not start and sell.
stop_for_the_change() {
  service_manager_runs || return 0
  systemctl is-active --quiet kiosk || return 0
  say "Stopping the kiosk; a payment that runs is waited for"
  [ "$dry_run" = yes ] || systemctl is-enabled kiosk >$MARKER || true
  act systemctl disable --quiet kiosk
  act systemctl stop kiosk
}

copy_program() {
  [ "$SOURCE" != "$(readlink -f $PROGRAM)" ] || return 0
  say "Copying the program from $SOURCE to $PROGRAM"
  act mkdir -p $PROGRAM
  local part
  for part in "${PARTS[@]}"; do
    if [ "$dry_run" = yes ]; then
      tell "would copy: $part"
      continue
    fi
    # Beside it and then in its place: files that a newer version no longer has must go.
    rm -rf "${PROGRAM:?}/$part.new"
    cp -R "$SOURCE/$part" "$PROGRAM/$part.new"
    rm -rf "${PROGRAM:?}/$part"
    mv -T "$PROGRAM/$part.new" "$PROGRAM/$part"
  done
}

install_program() {
  local stamp
  stamp=$(stamp_of "$SOURCE")
  if [ "$(cat $VENV/.installed 2>/dev/null)" = "$stamp" ] && [ "$(stamp_of $PROGRAM)" = "$stamp" ]; then
    say "Program in $PROGRAM: unchanged"
    return
  fi
  changed=yes
  stop_for_the_change
  copy_program
  say "Program and libraries in $PROGRAM; the first time this takes some minutes"
  # The kiosk's users read here, and nobody but root writes.
  act chown -R root:root $PROGRAM
  act chmod -R u+rwX,go+rX,go-w $PROGRAM
  if [ -e $VENV ] && ! $VENV/bin/python -m pip --version >/dev/null 2>&1; then
    tell "an earlier run was interrupted here: $VENV is made anew"
    act rm -rf $VENV
  fi
  if [ "$csi" = yes ] && ! grep -qs '^include-system-site-packages = true' $VENV/pyvenv.cfg; then
    # picamera2 comes with the system, not from PyPI.
    act python3 -m venv --system-site-packages $VENV
  fi
  act rm -f $VENV/.installed
  act make -C $PROGRAM --no-print-directory PYTHON=/usr/bin/python3 pi ||
    refuse "The Python libraries could not be installed; the lines above say why. Is there a network? Then run this again."
  # The kiosk may not write in /opt; without this each start would compile anew.
  act $VENV/bin/python -m compileall -q $PROGRAM/kiosk $PROGRAM/hardware
  check_libraries
  if [ "$dry_run" = no ]; then
    stamp_of $PROGRAM >$VENV/.installed
  fi
}

check_libraries() {
  [ "$dry_run" = no ] || return 0
  local work
  # lgpio leaves a pipe in its folder when it is imported. Below 0.2.2 pip may give an empty one.
  work=$(mktemp -d)
  if ! LG_WD=$work $VENV/bin/python -c 'import lgpio; lgpio.gpiochip_open'; then
    rm -rf "$work"
    refuse "The library for the pins (lgpio) is not usable: the lines above say why."
  fi
  rm -rf "$work"
  if [ "$csi" = yes ] && ! $VENV/bin/python -c 'import picamera2' >/dev/null; then
    refuse "The library for the ribbon cable's camera (picamera2) is not usable: the lines above say why."
  fi
}

link_command() {
  local link=/usr/local/bin/kiosk
  if [ -e $link ] && [ ! -L $link ]; then
    refuse "$link is a file of somebody else. Move it away and run this again."
  fi
  [ "$(readlink $link || true)" = $VENV/bin/kiosk ] || act ln -sfn $VENV/bin/kiosk $link
}

# A file in its place, whole or not at all; `placed` says whether anything was to be done.
place() {
  local from=$1 to=$2
  shift 2
  ! cmp -s "$from" "$to" || return 0
  placed=yes
  tell "$to"
  if [ "$dry_run" = no ]; then
    install -D "$@" "$from" "$to.new"
    mv -T "$to.new" "$to"
  fi
}

make_users() {
  say "Users kiosk and kiosk-scanner, and the folder of the journal, which is left as it is"
  place "$SOURCE/image-build/systemd/kiosk.sysusers.conf" /etc/sysusers.d/kiosk.conf -m 644
  act systemd-sysusers /etc/sysusers.d/kiosk.conf
  act install -d -o kiosk -g kiosk -m 700 /var/lib/kiosk
}

make_configuration() {
  say "Configuration in $ETC"
  [ -d $ETC ] || act install -d -m 755 $ETC
  if [ -e $ETC/kiosk.yaml ]; then
    tell "kiosk.yaml is there and kept"
  elif [ "$dry_run" = yes ]; then
    tell "$ETC/kiosk.yaml"
  else
    place "$SOURCE/config/kiosk.yaml" $ETC/kiosk.yaml -m 640 -g kiosk
  fi
  if [ -e $ETC/board.yaml ]; then
    tell "board.yaml is there and kept"
  else
    place "$SOURCE/config/boards/$board.yaml" $ETC/board.yaml -m 644
  fi
}

place_units() {
  say "Units in $UNITS"
  placed=no
  local unit
  for unit in kiosk.service kiosk-scanner.service; do
    place "$SOURCE/image-build/systemd/$unit" $UNITS/$unit -m 644
  done
  if [ "$csi" = yes ]; then
    place "$SOURCE/image-build/systemd/csi.conf" $CSI_DROP_IN -m 644
  elif cmp -s "$SOURCE/image-build/systemd/csi.conf" $CSI_DROP_IN; then
    tell "no camera on the ribbon cable any more: the scanner loses the rights for it"
    act rm -f $CSI_DROP_IN
    placed=yes
  fi
  if [ $placed = no ]; then
    tell "unchanged"
    return
  fi
  changed=yes
  if service_manager_runs; then
    act systemctl daemon-reload
  fi
}

check_configuration() {
  [ "$dry_run" = no ] || return 0
  say "Checking the configuration as the user kiosk"
  local findings
  # From /: the folder that this was called in may be closed to that user.
  if findings=$(cd / && runuser -u kiosk -- $VENV/bin/kiosk check-config \
    --config $ETC/kiosk.yaml --config $ETC/board.yaml 2>&1); then
    # What each price will ask the box for.
    grep -F -- '->' <<<"$findings" | sed 's/^/   /'
  else
    printf '%s\n' "$findings" >&2
    refuse "The program is installed, the configuration is not right: mend it as the lines above say, and run this again."
  fi
}

# Only a kiosk that ran is started: a fresh one has an example's address and price.
go_on_selling() {
  if [ $dry_run = yes ]; then
    say "Nothing was changed"
  elif [ -e $MARKER ]; then
    say "Starting the kiosk with what is new"
    [ "$(cat $MARKER)" != enabled ] || systemctl enable --quiet kiosk
    systemctl start kiosk
    rm $MARKER
  elif service_manager_runs && systemctl is-active --quiet kiosk; then
    if [ $changed = yes ]; then
      say "Restarting the kiosk with what is new; a payment that runs is waited for"
      systemctl restart kiosk
    else
      say "Nothing was to be done; the kiosk runs on"
    fi
  else
    say "Installed, and not started. What is left, in this order:"
    tell "sudo nano $ETC/kiosk.yaml     # gateway.url and offer.amount_sum; begin with the smallest price"
    tell "sudo -u kiosk kiosk check-config --config $ETC/kiosk.yaml --config $ETC/board.yaml"
    tell "sudo -u kiosk kiosk doctor --config $ETC/kiosk.yaml --config $ETC/board.yaml"
    tell "sudo systemctl enable --now kiosk"
    tell "one real payment: \"Go live\" in $PROGRAM/README.md, the last step"
  fi
}

main() {
  read_call "$@"
  check_machine
  choose_board
  install_packages
  install_program
  link_command
  make_users
  make_configuration
  place_units
  check_configuration
  go_on_selling
}

main "$@"
