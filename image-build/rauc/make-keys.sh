#!/bin/sh
# Makes what signs updates: make-keys.sh FOLDER [NAME]. Needs openssl.
#   ca.pem    goes onto every card, as the only one that its updates may come from
#   cert.pem  key.pem  sign bundles; whoever has the key can replace the kiosk's software
#   ca-key.pem  makes a new cert.pem, with openssl; keep it where no network is
set -eu
folder=$1 name=${2:-kiosk}
umask 077
mkdir -p "$folder"
if [ -e "$folder/ca.pem" ]; then
  echo "$folder has keys already" >&2
  exit 1
fi
work=$(mktemp -d "$folder/.new.XXXXXX")
trap 'rm -rf "$work"' EXIT
: >"$work/index"
cat >"$work/config" <<CONFIG
[ca]
default_ca = here
[here]
database = $work/index
new_certs_dir = $work
rand_serial = yes
policy = any
default_md = sha256
[any]
commonName = supplied
[req]
distinguished_name = none
prompt = no
[none]
CN = none
[authority]
basicConstraints = critical, CA:true, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[signer]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
extendedKeyUsage = critical, codeSigning
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
CONFIG
# A kiosk that lost its clock takes it to be the day of its build; a certificate from long
# before, and good for long, is valid on any of its days.
valid='-startdate 20200101000000Z -enddate 20691231235959Z'
for who in ca signer; do
  openssl ecparam -genkey -name prime256v1 -noout -out "$work/$who.key"
  openssl req -new -config "$work/config" -key "$work/$who.key" -subj "/CN=$name $who" -out "$work/$who.csr"
done
# shellcheck disable=SC2086
{
  openssl ca -batch -notext -config "$work/config" -extensions authority -selfsign $valid \
    -keyfile "$work/ca.key" -in "$work/ca.csr" -out "$work/ca.pem"
  openssl ca -batch -notext -config "$work/config" -extensions signer $valid \
    -cert "$work/ca.pem" -keyfile "$work/ca.key" -in "$work/signer.csr" -out "$work/cert.pem"
} 2>"$work/log" || { cat "$work/log" >&2; exit 1; }
mv "$work/signer.key" "$folder/key.pem"
mv "$work/cert.pem" "$folder/cert.pem"
mv "$work/ca.key" "$folder/ca-key.pem"
mv "$work/ca.pem" "$folder/ca.pem"
chmod 644 "$folder/ca.pem" "$folder/cert.pem"
