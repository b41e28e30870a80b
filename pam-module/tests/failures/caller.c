/* A program that asks PAM: caller SERVICE USER CONVERSATION FILE PHASE...
 * CONVERSATION: type:TEXT, error, null (no answers), empty (an answer without text), or gone (PAM_ABORT).
 * FILE: what the agent at the other end of descriptor 0 has said; "-" for no agent; "=FILE" for one that then stays silent, not gone.
 * Writes "PHASE CODE" for each phase, up to the first that does not succeed; exits 0 only when all succeeded. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <security/pam_appl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int talk(int n, const struct pam_message **messages, struct pam_response **answers, void *how) {
    const char *mode = how;
    (void)messages;
    *answers = NULL;
    if (!strcmp(mode, "error")) return PAM_CONV_ERR;
    if (!strcmp(mode, "gone")) return PAM_ABORT;
    if (!strcmp(mode, "null")) return PAM_SUCCESS;
    *answers = calloc((size_t)n, sizeof **answers);
    if (!*answers) return PAM_BUF_ERR;
    if (!strncmp(mode, "type:", 5)) {
        (*answers)->resp = strdup(mode + 5);
        if (!(*answers)->resp) return PAM_BUF_ERR;
    }
    return PAM_SUCCESS;
}

static void agent(const char *file) {
    char said[1 << 16];
    int pair[2];
    if (!strcmp(file, "-")) { close(0); return; }
    int stays = *file == '=';
    int in = open(file + stays, O_RDONLY);
    ssize_t length = read(in, said, sizeof said);
    if (in < 0 || length < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) || write(pair[1], said, (size_t)length) != length) _exit(99);
    if (!stays) shutdown(pair[1], SHUT_WR);
    close(in);
    dup2(pair[0], 0);
    close(pair[0]);
}

int main(int argc, char **argv) {
    if (argc < 6) return 98;
    struct pam_conv conv = {talk, argv[3]};
    pam_handle_t *handle = NULL;
    agent(argv[4]);
    int code = pam_start(argv[1], argv[2], &conv, &handle);
    /* As in sudo: the person's real uid, root's effective one. Done here, since programs started so take no LD_PRELOAD. */
    const char *person = getenv("PERSON");
    if (person && setresuid((uid_t)atol(person), 0, 0)) return 97;
    if (code != PAM_SUCCESS) { printf("start %d\n", code); return 1; }
    for (int i = 5; i < argc && code == PAM_SUCCESS; i++) {
        if (!strcmp(argv[i], "auth")) code = pam_authenticate(handle, 0);
        else if (!strcmp(argv[i], "account")) code = pam_acct_mgmt(handle, 0);
        else return 98;
        printf("%s %d\n", argv[i], code);
        fflush(stdout);
    }
    int ended = pam_end(handle, code);
    return code == PAM_SUCCESS && ended == PAM_SUCCESS ? 0 : 1;
}
