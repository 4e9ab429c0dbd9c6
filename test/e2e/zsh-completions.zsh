# zsh -f zsh-completions.zsh FUNCTIONS HITS LINE…: writes what an interactive zsh proposes at the end of each line to
# the file HITS, with a line "<end>" after each.
zmodload zsh/zpty
export HITS=$2 ZDOTDIR=$2.d TERM=dumb
mkdir $ZDOTDIR
cat > $ZDOTDIR/.zshrc <<EOT
PROMPT= RPROMPT=
fpath=(${(q)1} \$fpath)
autoload -U compinit; compinit -D -u
setopt no_beep
EOT
cat >> $ZDOTDIR/.zshrc <<'EOT'
# what is proposed reaches zsh through this builtin; with -O, -D and -A it only fills arrays
compadd() {
  if (( ! ${@[(I)-[ODA]]} )); then
    local -a hits
    builtin compadd -A hits "$@"
    (( ! $#hits )) || print -rl -- $IPREFIX$^hits >> $HITS
  fi
  builtin compadd "$@"
}
finish() { print -r -- '<end>' >> $HITS; zle kill-buffer }
zle -N finish
bindkey '^I' complete-word
bindkey '^X' finish
EOT
zpty terminal zsh -i
trap 'zpty -d terminal' EXIT
zpty -w terminal $'print re\'\'ady'
while zpty -r terminal out; do [[ $out == *ready* ]] && break; done
integer lines=0
for line in "${@[3,-1]}"; do
  zpty -n -w terminal "$line"$'\t\x18'
  (( ++lines ))
  # the test that runs this has a limit of time
  until [[ $(grep -cs '<end>' $2) == $lines ]]; do zpty -rt terminal out; sleep 0.02; done
done
