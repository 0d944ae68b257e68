#!/usr/bin/env bash
# Debian's MediaWiki as four deployments: two "versions" on SQLite and two on PostgreSQL.
#
#   scripts/mediawiki.sh start DIR [PID]   prints a line `NAME VERSION DB URL` for each; they answer then
#   scripts/mediawiki.sh stop DIR          stops all of it; the caller removes DIR
#
# Both versions are the same program on copies of the same data, each with a database and a server of
# its own: whatever differs between them, a test put there. The pages are MediaWiki's own change notes,
# one for each release, some hundreds, with links, a template and categories.
#
# DIR is absent or empty, and directly under a folder that everybody may enter (see postgres.sh). With
# PID everything is stopped and DIR removed as soon as that process is gone, however it ended.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

die() {
  echo "mediawiki.sh: $*" >&2
  exit 1
}
say() { echo "mediawiki.sh: $* after $((SECONDS)) s" >&2; }

[ $# -ge 2 ] || die "usage: $0 start DIR [PID] | stop DIR"
code=${CACHETSCOPE_TEST_MEDIAWIKI:?names the folder of MediaWiki; scripts/real-parts.sh live sets it}
php=${CACHETSCOPE_TEST_PHP:?names the PHP to run it with; scripts/real-parts.sh live sets it}
bin=${CACHETSCOPE_TEST_PG_BIN:?names the folder of the PostgreSQL binaries; scripts/real-parts.sh live sets it}
versions=(1.39.0 1.39.1)
# Nothing leaves this machine, and nothing of the caller's is read.
clean=(env -i PATH=/usr/bin:/bin LANG=C.UTF-8)
# Without APCu or another cache between, so that a request does its work each time.
settings=(-d memory_limit=512M -d display_errors=stderr -d opcache.enable=1 -d opcache.enable_cli=0
  -d opcache.memory_consumption=192 -d opcache.interned_strings_buffer=16 -d opcache.max_accelerated_files=16000
  -d opcache.revalidate_freq=600 -d opcache.jit=off)

# maintain CONF SCRIPT ARGUMENTS…: one of MediaWiki's maintenance scripts, on one wiki.
maintain() {
  local conf=$1 script=$2
  shift 2
  "${clean[@]}" MW_CONFIG_FILE="$conf/LocalSettings.php" "$php" "${settings[@]}" "$code/maintenance/$script" "$@" \
    >>"$dir/maintenance.log" 2>&1 </dev/null || die "$script failed: $(tail -n 20 "$dir/maintenance.log")"
}

# install DB ARGUMENTS…: a wiki on this database, with all pages.
install_wiki() {
  local db=$1 conf=$dir/$1-${versions[0]}
  shift
  mkdir -p "$conf/cache"
  maintain "$conf" install.php --confpath "$conf" --server http://127.0.0.1 --scriptpath '' --lang en \
    --pass "$(od -An -N12 -tx1 /dev/urandom | tr -d ' \n')" "$@" 'Change notes' Admin
  settings_for "$conf"
  maintain "$conf" rebuildLocalisationCache.php --lang en
  maintain "$conf" importTextFiles.php --rc --user Admin --summary 'Imported' "$dir/pages/"*.txt
  maintain "$conf" runJobs.php
  say "MediaWiki on $db is made"
}

# settings_for CONF: what every wiki here adds to what the installer wrote.
settings_for() {
  cat >>"$1/LocalSettings.php" <<'PHP'

# Of scripts/mediawiki.sh: no work is put off to other requests, and none is spared by a cache, but for
# the texts of the interface and the parser's results, which any wiki keeps.
$wgServer = WebRequest::detectServer();
$wgJobRunRate = 0;
$wgMainCacheType = CACHE_NONE;
$wgSessionCacheType = CACHE_DB;
$wgCacheDirectory = __DIR__ . '/cache';
$wgLocalisationCacheConf['store'] = 'array';
$wgLocalisationCacheConf['manualRecache'] = true;
$wgEnableEmail = false;
# As postgres.sh does: durability is not what these databases are for.
if ( $wgDBtype === 'sqlite' ) {
	$wgDBservers = [ [ 'type' => 'sqlite', 'dbname' => $wgDBname, 'load' => 1, 'variables' => [ 'synchronous' => 'OFF' ] ] ];
	$wgObjectCaches[CACHE_DB]['server']['variables']['synchronous'] = 'OFF';
	$wgJobTypeConf['default']['server']['variables']['synchronous'] = 'OFF';
}
PHP
}

# One page for each section of the change notes, which are written as wiki text.
pages() {
  mkdir -p "$dir/pages"
  zcat "$code/../doc/mediawiki/changelog.gz" |
    sed -E '/^=/!s/MediaWiki ([0-9]+\.[0-9]+(\.[0-9]+)?)/[[MediaWiki \1]]/g' | awk -v dir="$dir/pages" '
    function close_page() { if (file) { print "\n[[Category:" release "]]" >> file; close(file) } }
    /^= [^=]+ =$/ { close_page(); release = substr($0, 3, length($0) - 4); file = ""; next }
    /^== ?[^=]+ ?==$/ {
      close_page()
      title = $0; gsub(/^== ?| ?==$/, "", title); gsub(/[\/#<>\[\]|{}:]/, " ", title)
      if (title !~ /[0-9]/) title = title " of " release
      file = dir "/" title ".txt"
      printf "{{Release|%s}}\n", release > file
      next
    }
    file { print >> file }
    END { close_page() }'
  cat >"$dir/pages/Template:Release.txt" <<'WIKI'
{| class="wikitable"
! Release !! Notes
|-
| [[:Category:{{{1}}}|{{{1}}}]] || {{PAGENAME}} ({{PAGESINCATEGORY:{{{1}}}}} pages)
|}
WIKI
}

# serve CONF: starts a server, as a leader of its own group, since PHP's workers outlive a killed master.
serve() {
  local conf=$1 log=$1/server.log pid
  : >"$log"
  "${clean[@]}" MW_CONFIG_FILE="$conf/LocalSettings.php" PHP_CLI_SERVER_WORKERS=2 \
    setsid "$php" "${settings[@]}" -S 127.0.0.1:0 -t "$code" >"$log" 2>&1 </dev/null &
  pid=$!
  echo "$pid" >>"$dir/groups"
  url=
  for _ in {1..100}; do
    url=$(sed -nE 's/.*Development Server \((http:[^)]*)\) started.*/\1/p' "$log" | head -n 1)
    [ -z "$url" ] || return 0
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  die "PHP's server did not start: $(tail -n 20 "$log")"
}

stop() {
  local group
  if [ -e "$dir/groups" ]; then
    while read -r group; do kill -TERM -- "-$group" 2>/dev/null || true; done <"$dir/groups"
    rm -f "$dir/groups"
  fi
  [ ! -e "$dir/postgres/postmaster.pid" ] || "$here/postgres.sh" stop "$dir/postgres"
}

case $1 in
  start)
    mkdir -p "$2"
    dir=$(realpath "$2")
    chmod 711 "$dir"
    trap stop EXIT
    pages
    # Below the ports that the system gives to whoever asks for any.
    for port in $(shuf -i 20000-30000 -n 5) none; do
      [ "$port" != none ] || die "PostgreSQL did not start at any of five ports"
      ! "$here/postgres.sh" start "$dir/postgres" "$port" ${3:+"$3"} || break
    done
    psql() { "$bin/psql" -h 127.0.0.1 -p "$port" -U postgres -qAt -v ON_ERROR_STOP=1 "$@" >>"$dir/maintenance.log"; }

    install_wiki sqlite --dbtype sqlite --dbname wiki --dbpath "$dir/sqlite-${versions[0]}/data"
    install_wiki postgresql --dbtype postgres --dbserver 127.0.0.1 --dbport "$port" --dbname wiki0 \
      --dbuser postgres --dbpass unused
    psql -d wiki0 -c 'VACUUM ANALYZE'

    cp -R "$dir/sqlite-${versions[0]}" "$dir/sqlite-${versions[1]}"
    cp -R "$dir/postgresql-${versions[0]}" "$dir/postgresql-${versions[1]}"
    psql -d postgres -c 'CREATE DATABASE wiki1 TEMPLATE wiki0'
    sed -i "s|$dir/sqlite-${versions[0]}|$dir/sqlite-${versions[1]}|" "$dir/sqlite-${versions[1]}/LocalSettings.php"
    sed -i 's|"wiki0"|"wiki1"|' "$dir/postgresql-${versions[1]}/LocalSettings.php"

    for version in "${versions[@]}"; do
      for db in sqlite postgresql; do
        serve "$dir/$db-$version"
        echo "$db-$version v$version $db $url"
      done
    done
    say "all four are served"
    trap - EXIT
    if [ -n "${3:-}" ]; then
      # Own session, no shared pipes: outlives the caller, and lets it read our output to its end.
      setsid bash -c 'tail --pid="$1" -f /dev/null; "$2" stop "$3"; rm -rf "$3"' \
        watcher "$3" "$here/${0##*/}" "$dir" >/dev/null 2>&1 </dev/null &
    fi
    ;;
  stop)
    dir=$(realpath "$2")
    stop
    ;;
  *) die "usage: $0 start DIR [PID] | stop DIR" ;;
esac
